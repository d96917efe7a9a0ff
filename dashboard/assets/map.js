// A map of many points: dots are written directly to pixels, so that each frame can redraw tens of thousands.
const NEAR = 9 // the pointer selects the nearest point within this many pixels
const CLICK = 4 // the pointer may move this many pixels during a click
const MAX_ZOOM = 60
const MAX_CORNERS = 60

export default function ({ data, parentElement, setStateValue }) {
  const find = (selector) => parentElement.querySelector(selector)
  const [map, canvas, shape, labels, card] = [".map", "canvas", "polygon", ".labels", ".card"].map(find)
  const { x, y, colour } = data
  // The user's view survives a change of the data.
  const view = (parentElement.view ??= { zoom: 1, x: 0, y: 0, mode: "lasso" })
  const palette = new Uint32Array(data.palette.map(asPixel))
  let chosen = data.chosen
  let isChosen = chosenPoints(chosen)
  let drawn = null // the corners of the shape that the user is drawing, in pixels
  let width, height, ratio, pixels, image
  let frameRequest = 0

  // Convert map coordinates (-1 to 1) to pixels, and back.
  const across = (value) => width / 2 + (value - view.x) * view.zoom * width * 0.48
  const down = (value) => height / 2 - (value - view.y) * view.zoom * height * 0.47
  const mapX = (px) => view.x + (px - width / 2) / (view.zoom * width * 0.48)
  const mapY = (px) => view.y - (px - height / 2) / (view.zoom * height * 0.47)

  function asPixel(text) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16))
    return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0
  }

  function size() {
    ratio = Math.min(window.devicePixelRatio || 1, 2)
    width = map.clientWidth
    height = map.clientHeight
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
    image = new ImageData(canvas.width || 1, canvas.height || 1)
    pixels = new Uint32Array(image.data.buffer)
    redraw()
  }

  function redraw() {
    frameRequest ||= requestAnimationFrame(() => {
      frameRequest = 0
      if (!width) return
      drawDots()
      drawShape()
      drawLabels()
    })
  }

  // A disc as pixel offsets, with a separate rim: the rim never covers another dot, so that crowded dots stay distinct.
  function disc(radius) {
    const [inner, rim] = [[], []]
    for (let v = -Math.ceil(radius); v <= radius; v++)
      for (let u = -Math.ceil(radius); u <= radius; u++) {
        const distance = Math.hypot(u, v)
        if (distance <= radius - 0.7) inner.push(v * canvas.width + u)
        else if (distance <= radius) rim.push(v * canvas.width + u)
      }
    return { inner, rim, reach: Math.ceil(radius) }
  }

  function drawDots() {
    const crowd = x.length > 10000 ? 2.2 : x.length > 2000 ? 3 : 4
    const { inner, rim, reach } = disc(crowd * ratio * Math.min(view.zoom ** 0.35, 2.5))
    pixels.fill(0)
    const pass = (wanted) => {
      const alpha = wanted ? 0xffffffff : 0x38ffffff
      for (let i = 0; i < x.length; i++) {
        if (colour[i] < 0 || (isChosen && isChosen[i] !== wanted)) continue
        const px = Math.round(across(x[i]) * ratio)
        const py = Math.round(down(y[i]) * ratio)
        if (px < reach || py < reach || px >= canvas.width - reach || py >= canvas.height - reach) continue
        const at = py * canvas.width + px
        const ink = (palette[colour[i]] & (isChosen ? alpha : 0xffffffff)) >>> 0
        for (let k = 0; k < inner.length; k++) pixels[at + inner[k]] = ink
        for (let k = 0; k < rim.length; k++) pixels[at + rim[k]] ||= (ink & 0x90ffffff) >>> 0
      }
    }
    if (isChosen) pass(0)
    pass(1)
    canvas.getContext("2d").putImageData(image, 0, 0)
  }

  function drawShape() {
    const corners = drawn ?? chosen?.area?.map(([cx, cy]) => [across(cx), down(cy)]) ?? []
    shape.setAttribute("points", corners.map((corner) => corner.join(",")).join(" "))
  }

  function drawLabels() {
    const taken = []
    data.labels.forEach((label, i) => {
      const span = labels.children[i]
      const [wide, high] = (span.extent ??= [span.offsetWidth, span.offsetHeight])
      const [px, py] = [across(label.x), down(label.y)]
      // Keep labels at the edge inside the map.
      const left = Math.min(Math.max(px - wide / 2, 2), width - wide - 2)
      const top = Math.min(Math.max(py - high / 2, 2), height - high - 2)
      const free =
        px > 0 && py > 0 && px < width && py < height &&
        taken.every(([l, t, w, h]) => left > l + w || l > left + wide || top > t + h || t > top + high)
      span.style.visibility = free ? "visible" : "hidden"
      span.style.transform = `translate(${left}px, ${top}px)`
      if (free) taken.push([left, top, wide, high])
    })
  }

  function writeLabels() {
    labels.replaceChildren(
      ...data.labels.map((label) => Object.assign(document.createElement("span"), { textContent: label.text })),
    )
  }

  function inside(area, px, py) {
    let isInside = false
    for (let i = 0, j = area.length - 1; i < area.length; j = i++) {
      const [ax, ay] = area[i]
      const [bx, by] = area[j]
      if (ay > py !== by > py && px < ((bx - ax) * (py - ay)) / (by - ay) + ax) isInside = !isInside
    }
    return isInside
  }

  function chosenPoints(choice) {
    if (!choice) return null
    const test = choice.area ? (i) => inside(choice.area, x[i], y[i]) : (i) => data.photo_id[i] === choice.photo
    return Uint8Array.from(x, (_, i) => (test(i) ? 1 : 0))
  }

  function choose(choice) {
    chosen = choice
    isChosen = chosenPoints(choice)
    redraw()
    setStateValue("chosen", choice)
  }

  function nearest(px, py) {
    let [best, shortest] = [-1, NEAR ** 2]
    for (let i = 0; i < x.length; i++) {
      if (colour[i] < 0) continue
      const distance = (across(x[i]) - px) ** 2 + (down(y[i]) - py) ** 2
      if (distance < shortest) [best, shortest] = [i, distance]
    }
    return best
  }

  let shown = -1
  function showCard(point, px, py) {
    card.hidden = point < 0
    map.style.cursor = point >= 0 ? "pointer" : view.mode === "move" ? "grab" : "crosshair"
    if (point >= 0 && point !== shown) {
      const address = data.photo_url[point]
      card.querySelector("img").src = `${data.api}${address}${address.includes("?") ? "&" : "?"}size=${data.photo_pixels}`
      card.querySelector("strong").textContent = data.title[point]
      card.querySelector("p").textContent = data.facts.map((fact) => fact[point]).filter(Boolean).join("\n")
    }
    shown = point
    if (point < 0) return
    card.style.left = `${px + 16 + card.offsetWidth > width ? Math.max(px - 16 - card.offsetWidth, 0) : px + 16}px`
    card.style.top = `${Math.max(Math.min(py + 16, height - card.offsetHeight - 4), 0)}px`
  }

  function zoom(factor, px = width / 2, py = height / 2) {
    const [cx, cy] = [mapX(px), mapY(py)]
    view.zoom = Math.min(Math.max(view.zoom * factor, 1), MAX_ZOOM)
    view.x += cx - mapX(px)
    view.y += cy - mapY(py)
    keepInSight()
  }

  function move(dx, dy) {
    view.x -= dx / (view.zoom * width * 0.48)
    view.y += dy / (view.zoom * height * 0.47)
    keepInSight()
  }

  function keepInSight() {
    view.x = Math.min(Math.max(view.x, -1), 1)
    view.y = Math.min(Math.max(view.y, -1), 1)
    showCard(-1)
    redraw()
  }

  function corners(event) {
    const frame = map.getBoundingClientRect()
    return [event.clientX - frame.left - map.clientLeft, event.clientY - frame.top - map.clientTop]
  }

  function rectangle([left, top], [right, bottom]) {
    return [[left, top], [right, top], [right, bottom], [left, bottom]]
  }

  // The area in map coordinates, short enough for a URL.
  function asArea(outline) {
    const step = Math.ceil(outline.length / MAX_CORNERS)
    const round = (value) => Math.round(value * 1000) / 1000
    return outline.filter((_, i) => i % step === 0).map(([px, py]) => [round(mapX(px)), round(mapY(py))])
  }

  const fingers = new Map()
  let start = null
  map.onpointerdown = (event) => {
    if (event.button !== 0) return
    const at = corners(event)
    map.setPointerCapture(event.pointerId)
    fingers.set(event.pointerId, at)
    start = { at, moves: view.mode === "move" || event.shiftKey, isClick: true }
    drawn = null
  }
  map.onpointermove = (event) => {
    const at = corners(event)
    const last = fingers.get(event.pointerId)
    if (!last) return showCard(event.pointerType === "mouse" ? nearest(...at) : -1, ...at)
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1]
      const distance = (finger) => Math.hypot(finger[0] - other[0], finger[1] - other[1]) || 1
      zoom(distance(at) / distance(last), (at[0] + other[0]) / 2, (at[1] + other[1]) / 2)
      move((at[0] - last[0]) / 2, (at[1] - last[1]) / 2)
      start = drawn = null
    } else if (start) {
      if (Math.hypot(at[0] - start.at[0], at[1] - start.at[1]) > CLICK) start.isClick = false
      if (start.isClick) return
      if (start.moves) move(at[0] - last[0], at[1] - last[1])
      else if (view.mode === "box") drawn = rectangle(start.at, at)
      else (drawn ??= [start.at]).push(at)
      showCard(-1)
      redraw()
    }
    fingers.set(event.pointerId, at)
  }
  map.onpointerup = map.onpointercancel = (event) => {
    fingers.delete(event.pointerId)
    const [ended, outline] = [start, drawn]
    start = drawn = null
    if (event.type === "pointercancel" || !ended) return redraw()
    if (ended.isClick) {
      const point = nearest(...ended.at)
      if (point >= 0) choose({ photo: data.photo_id[point] })
      else if (chosen) choose(null)
    } else if (outline && outline.length > 2) choose({ area: asArea(outline) })
  }
  map.onpointerleave = () => showCard(-1)
  const wheel = (event) => {
    if (!event.ctrlKey && !event.metaKey) return // let the page scroll
    event.preventDefault()
    zoom(Math.exp(-event.deltaY / 300), ...corners(event))
  }
  map.addEventListener("wheel", wheel, { passive: false })

  map.onkeydown = (event) => {
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key]
    if (step) move(...step)
    else if (event.key === "+" || event.key === "=") zoom(1.5)
    else if (event.key === "-") zoom(1 / 1.5)
    else if (event.key === "Enter") choose({ area: asArea(rectangle([0, 0], [width, height])) })
    else if (event.key === "Escape") choose(null)
    else return
    event.preventDefault()
  }

  function setMode(mode) {
    view.mode = mode
    for (const button of parentElement.querySelectorAll("[data-mode]"))
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode))
  }
  for (const button of parentElement.querySelectorAll("[data-mode]")) button.onclick = () => setMode(button.dataset.mode)
  const acts = {
    in: () => zoom(1.5),
    out: () => zoom(1 / 1.5),
    all: () => (Object.assign(view, { zoom: 1, x: 0, y: 0 }), redraw()),
    none: () => choose(null),
  }
  for (const button of parentElement.querySelectorAll("[data-act]")) button.onclick = acts[button.dataset.act]

  map.setAttribute("aria-label", `${data.alt} Arrow keys move, + and - zoom, Enter selects everything in view, Escape clears the selection.`)
  setMode(view.mode)
  writeLabels()
  showCard(-1)
  const watch = new ResizeObserver(size)
  watch.observe(map)
  size()
  return () => {
    watch.disconnect()
    map.removeEventListener("wheel", wheel)
    cancelAnimationFrame(frameRequest)
  }
}
