// A photo in the clipboard goes where a dropped one would: Streamlit's uploader takes no paste itself.
export default function () {
  function paste(event) {
    const photos = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"))
    const input = document.querySelector('[data-testid="stFileUploader"] input[type="file"]')
    if (!photos.length || !input) return
    event.preventDefault()
    const taken = new DataTransfer()
    for (const photo of photos) taken.items.add(photo)
    input.files = taken.files
    input.dispatchEvent(new Event("change", { bubbles: true }))
  }
  document.addEventListener("paste", paste)
  return () => document.removeEventListener("paste", paste)
}
