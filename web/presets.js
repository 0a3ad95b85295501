// The inputs layers and schedule list their presets and still take any text: the last entry of the list asks for it.
import { app } from "../../scripts/app.js"

const OWN = "your own …"
const HOW = {
  layers: "Weights of the layers 0 to 15, such as 0:1.0, 5:0.5. All others get 0.",
  schedule: "Points from 0 (start) to 1 (end), such as 0:1.0, 0.5:0.3, joined by straight lines."
}

app.registerExtension({
  name: "IMAGDressing.Presets",

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("IMAGDressing")) return
    node.widgets?.filter(({ name, type }) => name in HOW && type === "combo").forEach(offerPresets)
  }
})

function offerPresets(widget) {
  const presets = [...widget.options.values]
  let chosen = widget.value
  // A text that is no preset stands in the list too, or the editor would call it invalid.
  Object.defineProperty(widget.options, "values", {
    configurable: true,
    enumerable: true,
    get() {
      if (widget.value !== OWN) chosen = widget.value
      return [...new Set([...presets, chosen, OWN])]
    }
  })
  const { callback } = widget
  widget.callback = function (value, ...more) {
    if (value === OWN) ask(widget, chosen)
    else chosen = value
    return callback?.call(this, widget.value, ...more)
  }
}

async function ask(widget, before) {
  widget.value = before
  const typed = await app.extensionManager.dialog.prompt({
    title: widget.label ?? widget.name,
    message: HOW[widget.name],
    defaultValue: before
  })
  if (typed?.trim()) widget.value = typed.trim()
  app.canvas?.setDirty(true, true)
}
