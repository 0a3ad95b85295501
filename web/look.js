// The pack's two sockets have colours of their own, and new nodes are as wide as their titles and choices.
import { app } from "../../scripts/app.js"

const COLOURS = { IMAGDRESSING_MODEL: "#c678dd", IMAGDRESSING_GARMENT: "#ff9f80" }
const BESIDE_TEXT = 75 // pixels, of the buttons and the space around it
const pen = document.createElement("canvas").getContext("2d")

app.registerExtension({
  name: "IMAGDressing.Look",

  setup() {
    const style = document.createElement("style")
    const variables = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}: ${colour};`)
    style.textContent = `:root { ${variables.join(" ")} }` // Nodes 2.0
    document.head.append(style)
    colourSockets()
    app.ui.settings.addEventListener("Comfy.ColorPalette.change", () => setTimeout(colourSockets, 500))
  },

  afterConfigureGraph: colourSockets,

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("IMAGDressing")) return
    const choices = (node.widgets ?? []).filter(({ type }) => type === "combo")
    const texts = [node.title, ...choices.map((widget) => `${widget.label ?? widget.name} ${widget.value}`)]
    pen.font = "14px sans-serif"
    const width = Math.max(...texts.map((text) => pen.measureText(text).width)) + BESIDE_TEXT
    if (node.size[0] < width) node.setSize([width, node.size[1]])
  }
})

// A palette that knows nothing of these types makes them grey.
function colourSockets() {
  if (!app.canvas) return
  Object.assign(app.canvas.default_connection_color_byType, COLOURS)
  Object.assign(app.canvas.constructor.link_type_colors, COLOURS)
  app.canvas.setDirty(true, true)
}
