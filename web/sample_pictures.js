// The pictures that this pack's workflows start from: brought into the input folder when a workflow that names one is
// opened, as dropping it on Load Image would. A picture of that name which is already there stays.
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const PACK = new URL(".", import.meta.url).pathname.split("/").at(-2)
const LOADERS = ["LoadImage", "LoadImageMask"]

app.registerExtension({
  name: "IMAGDressing.SamplePictures",

  async beforeConfigureGraph(workflow) {
    const names = sampleNames(workflow)
    if (names.length === 0) return
    const there = new Set(await inputPictures())
    const missing = names.filter((name) => !there.has(name))
    if (missing.length === 0) return
    await Promise.all(missing.map(upload))
    await app.refreshComboInNodes() // or the editor would go on calling them missing
  }
})

function sampleNames(workflow) {
  const graphs = [workflow, ...(workflow.definitions?.subgraphs ?? [])]
  const loaders = graphs.flatMap((graph) => graph.nodes ?? []).filter((node) => LOADERS.includes(node.type))
  const names = loaders.map((node) => node.widgets_values?.[0]).filter((name) => /^imagdressing_\w+\.png$/.test(name))
  return [...new Set(names)]
}

async function inputPictures() {
  const response = await api.fetchApi("/object_info/LoadImage")
  const { LoadImage } = await response.json()
  return LoadImage.input.required.image[0]
}

async function upload(name) {
  const picture = await api.fetchApi(`/workflow_templates/${PACK}/input/${name}`)
  if (!picture.ok) return // not one of ours after all
  const form = new FormData()
  form.append("image", await picture.blob(), name)
  await api.fetchApi("/upload/image", { method: "POST", body: form })
}
