// Save Garment's filename_prefix takes the patterns of Save Image, %date:yyyy-MM-dd% and %Node.widget%.
// The editor fills them in for its own save nodes only, by name; this asks it to do so for ours.
import { app } from "../../scripts/app.js";

app.registerExtension({
  name: "IMAGDressing.FilenamePatterns",
  nodeCreated(node) {
    if (node.comfyClass !== "IMAGDressingSaveGarment") return;
    const widget = node.widgets?.find(({ name }) => name === "filename_prefix");
    if (!widget) return;
    widget.serializeValue = () =>
      window.comfyAPI?.utils?.applyTextReplacements?.(app, widget.value) ?? widget.value;
  },
});
