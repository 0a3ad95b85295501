// What the nodes say (loaded, encoded, saved where, warnings) stays in them until they say something else. The editor's
// own progress texts do not: newer ones take them away when a job ends, and none brings them back with a workflow.
// The texts live in the editor's outputs of nodes, beside the preview images: it keeps those for each open workflow.
// A subgraph shows the warnings of the nodes in it, which nobody sees from outside, where the editor lets it.
import { app } from "../../scripts/app.js"

const NAME = "imagdressing_said"
const LINE = 16 // pixels
const MOST_LINES = 10
const MARGIN = 8
const WARNING = "⚠"
const pen = document.createElement("canvas").getContext("2d")
pen.font = "12px sans-serif"

app.registerExtension({
  name: "IMAGDressing.Said",

  nodeCreated(node) {
    if (!isOurs(node)) return
    const onExecuted = node.onExecuted
    node.onExecuted = function (output) {
      onExecuted?.call(this, output)
      const before = this.widgets?.find(({ name }) => name === NAME)?.value ?? ""
      show(this)
      subgraphsAround(this).forEach(show)
      announce(this, before)
    }
  },

  // A workflow was opened, or a tab switched to.
  afterConfigureGraph: showAll,
  onNodeOutputsUpdated: showAll
})

function isOurs(node) {
  return node.comfyClass?.startsWith("IMAGDressing")
}

function showAll() {
  allNodes().filter((node) => isOurs(node) || node.subgraph).forEach(show)
}

function allNodes() {
  const root = app.rootGraph ?? app.graph
  const graphs = root ? [root, ...(root.subgraphs?.values() ?? [])] : []
  return graphs.flatMap((graph) => graph.nodes)
}

function subgraphsAround(node) {
  const around = allNodes().filter(({ subgraph }) => subgraph && subgraph === node.graph)
  return around.flatMap((one) => [one, ...subgraphsAround(one)])
}

function textsOf(node) {
  if (!node.subgraph) return isOurs(node) ? ownTexts(node) : []
  const inside = node.subgraph.nodes.flatMap(textsOf)
  return [...new Set(inside.filter((text) => text.startsWith(WARNING)))]
}

// Return a node's own texts, then the warnings about it of the last prompt that sampled with it.
function ownTexts(node) {
  const root = app.rootGraph ?? app.graph
  const locator = node.graph && node.graph !== root ? `${node.graph.id}:${node.id}` : String(node.id)
  const output = app.nodeOutputs?.[locator] ?? {}
  const warnings = output.imagdressing_warnings ?? []
  const last = warnings.at(-1)?.prompt
  const current = warnings.filter(({ prompt, text }) => prompt === last && text).map(({ text }) => text)
  return [...new Set([...(output.imagdressing ?? []), ...current])]
}

function show(node) {
  const texts = textsOf(node)
  let widget = node.widgets?.find(({ name }) => name === NAME)
  if (texts.join("\n") === (widget?.value ?? "")) return
  if (texts.length === 0) {
    node.removeWidget(widget)
  } else {
    widget ??= addWidget(node)
    if (!widget) return
    widget.element.replaceChildren(...texts.map(paragraph))
    const [width, height] = node.computeSize()
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)])
  }
  app.canvas?.setDirty(true, true)
}

// A new warning is shown beside the canvas too: its node may be out of sight, as all nodes are in an app. One from
// within a subgraph stays there until it is closed, where the subgraph cannot show it.
function announce(node, before) {
  const added = textsOf(node).filter((text) => text.startsWith(WARNING) && !before.includes(text))
  for (const text of added) {
    const detail = text.slice(WARNING.length).trim()
    const life = subgraphsAround(node).length > 0 ? undefined : 15000 // milliseconds
    app.extensionManager?.toast?.add({ severity: "warn", summary: node.title, detail, life })
  }
}

function paragraph(text) {
  const element = document.createElement("div")
  element.textContent = text
  if (text.startsWith(WARNING)) element.style.color = "var(--warning-background, #f5b041)"
  return element
}

function addWidget(node) {
  const element = document.createElement("div")
  element.setAttribute("role", "status")
  element.style.cssText =
    `font: 12px/${LINE}px sans-serif; color: var(--input-text, #ddd); white-space: pre-wrap; ` +
    `padding: 0 ${MARGIN}px; box-sizing: border-box; overflow: auto; overflow-wrap: anywhere; user-select: text`
  const height = () => LINE * Math.min(MOST_LINES, linesOf(element, node.size[0] - 4 * MARGIN)) + MARGIN
  const widget = node.addDOMWidget(NAME, NAME, element, {
    getValue: () => [...element.children].map((one) => one.textContent).join("\n"),
    setValue: () => {},
    getMinHeight: height,
    getMaxHeight: height,
    margin: MARGIN / 2,
    hideOnZoom: false,
    serialize: false
  })
  widget.serialize = false // in the saved workflow either
  const added = node.widgets?.find(({ name }) => name === NAME)
  if (!added) widget.onRemove?.() // subgraphs of some releases take none
  return added
}

// Return how many lines the texts take at that width; words are not broken there, so that it is a little more.
function linesOf(element, width) {
  const lines = [...element.children].flatMap((one) => one.textContent.split("\n"))
  return lines.reduce((sum, line) => sum + Math.max(1, Math.ceil((1.1 * pen.measureText(line).width) / width)), 0)
}
