"""Save Garment's filename_prefix in the editor: what Save Image makes of a pattern, it makes too."""

import pytest
from support.editor import Editor

PREFIXES_OF_BOTH = """
async (prefix) => {
  app.graph.clear();
  const made = ["KSampler", "SaveImage", "IMAGDressingSaveGarment"].map((type) => LiteGraph.createNode(type));
  made.forEach((node) => app.graph.add(node));
  const [sampler, ...saves] = made;
  sampler.widgets.find(({ name }) => name === "seed").value = 4711;
  saves.forEach((node) => (node.widgets.find(({ name }) => name === "filename_prefix").value = prefix));
  const { output } = await app.graphToPrompt();
  return saves.map(({ id }) => output[id].inputs.filename_prefix);
}
"""


@pytest.mark.parametrize(
    "prefix", ["%date:yyyy-MM-dd%/shirt", "%KSampler.seed%_shirt", "%year%-%month%/shirt", "%Nobody.seed%", "plain"]
)
def test_a_pattern_becomes_what_save_image_makes_of_it(editor: Editor, prefix: str):
    theirs, ours = editor.run_javascript(PREFIXES_OF_BOTH, prefix)
    assert ours == theirs
    is_filled_in = prefix.startswith(("%date", "%KSampler"))
    assert (ours != prefix) == is_filled_in
