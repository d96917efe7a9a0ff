// A photo and a selected part of it: drag to draw the part, arrow keys to move it, Shift + arrow keys to resize it.
export default function ({ data, parentElement, setStateValue }) {
  const frame = parentElement.querySelector(".frame")
  const photo = parentElement.querySelector("img")
  const part = parentElement.querySelector(".part")
  const whole = parentElement.querySelector("button")
  const MIN_SIZE = 0.08
  const STEP = 0.02
  let box = data.box

  photo.src = data.source
  photo.alt = data.alt
  frame.setAttribute("aria-label", `${data.alt}. Arrow keys select and move a part of it, Shift + arrow keys resize the part, Escape selects the whole photo.`)

  const round = (share) => Math.round(share * 1000) / 1000
  const within = (share, low, high) => Math.min(Math.max(share, low), high)

  function draw() {
    part.hidden = whole.hidden = !box
    if (!box) return
    for (const [name, share] of [["left", box.x], ["top", box.y], ["width", box.width], ["height", box.height]])
      part.style[name] = `${share * 100}%`
  }

  function report() {
    draw()
    setStateValue("box", box)
  }

  function place(event) {
    const area = photo.getBoundingClientRect()
    return {
      x: within((event.clientX - area.left) / area.width, 0, 1),
      y: within((event.clientY - area.top) / area.height, 0, 1),
    }
  }

  let start = null
  let before = null
  frame.onpointerdown = (event) => {
    if (event.button !== 0) return
    event.preventDefault()
    frame.focus()
    frame.setPointerCapture(event.pointerId)
    before = box
    start = place(event)
  }
  frame.onpointermove = (event) => {
    if (!start) return
    const end = place(event)
    const [x, y] = [round(Math.min(start.x, end.x)), round(Math.min(start.y, end.y))]
    box = {
      x, y,
      width: Math.min(round(Math.abs(start.x - end.x)), 1 - x),
      height: Math.min(round(Math.abs(start.y - end.y)), 1 - y),
    }
    draw()
  }
  frame.onpointerup = frame.onpointercancel = (event) => {
    if (!start) return
    start = null
    // A click, or a part that is too small to search by, changes nothing.
    const drawn = box !== before && box.width >= MIN_SIZE && box.height >= MIN_SIZE && event.type === "pointerup"
    if (drawn) return report()
    box = before
    draw()
  }

  let timer = null
  frame.onkeydown = (event) => {
    const [right, down] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key] ?? []
    if (event.key === "Escape" && box) box = null
    else if (right === undefined) return
    else if (!box) box = { x: 0.2, y: 0.2, width: 0.6, height: 0.6 }
    else if (event.shiftKey)
      box = {
        ...box,
        width: round(within(box.width + right * STEP, MIN_SIZE, 1 - box.x)),
        height: round(within(box.height + down * STEP, MIN_SIZE, 1 - box.y)),
      }
    else
      box = {
        ...box,
        x: round(within(box.x + right * STEP, 0, 1 - box.width)),
        y: round(within(box.y + down * STEP, 0, 1 - box.height)),
      }
    event.preventDefault()
    draw()
    clearTimeout(timer)
    timer = setTimeout(report, 500)
  }

  whole.onclick = () => {
    box = null
    report()
    frame.focus()
  }

  draw()
  return () => clearTimeout(timer)
}
