// Add photos that are pasted to Streamlit's uploader, which does not accept pasted files itself.
export default function () {
  function paste(event) {
    const photos = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"))
    const input = document.querySelector('[data-testid="stFileUploader"] input[type="file"]')
    if (!photos.length || !input) return
    event.preventDefault()
    const transfer = new DataTransfer()
    for (const photo of photos) transfer.items.add(photo)
    input.files = transfer.files
    input.dispatchEvent(new Event("change", { bubbles: true }))
  }
  document.addEventListener("paste", paste)
  return () => document.removeEventListener("paste", paste)
}
