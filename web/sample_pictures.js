// The images that this pack's workflows start from are brought into the input folder when a workflow that names one is
// opened, as dropping it on Load Image would. An image of that name that is already there stays.
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const PACK = new URL(".", import.meta.url).pathname.split("/").at(-2)
const LOADERS = ["LoadImage", "LoadImageMask"]

app.registerExtension({
  name: "IMAGDressing.SamplePictures",

  async beforeConfigureGraph(workflow) {
    const names = sampleNames(workflow)
    if (names.length === 0) return
    const there = new Set(await inputImages())
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

async function inputImages() {
  const response = await api.fetchApi("/object_info/LoadImage")
  const { LoadImage } = await response.json()
  return LoadImage.input.required.image[0]
}

async function upload(name) {
  const image = await api.fetchApi(`/workflow_templates/${PACK}/input/${name}`)
  if (!image.ok) return // not one of ours after all
  const form = new FormData()
  form.append("image", await image.blob(), name)
  await api.fetchApi("/upload/image", { method: "POST", body: form })
}
