// Paints the labels of each photo, up to its slider, and tells the class under the cursor.
"use strict";

const VOID = 255, STRENGTH = 0.62;
const head = () => Number(document.querySelector("input[name=head]:checked")?.value ?? 0);
const classesOf = (index) => document.querySelector(`fieldset[data-head="${index}"]`);

// By label: the name, the colour as [r, g, b], and whether it is painted.
function classes() {
  const found = new Map();
  for (const box of classesOf(head()).querySelectorAll("input")) {
    const rgb = [1, 3, 5].map((at) => parseInt(box.dataset.colour.slice(at, at + 2), 16));
    const name = box.parentElement.querySelector(".name").textContent;
    found.set(Number(box.value), { name, rgb, colour: box.dataset.colour, painted: box.checked });
  }
  return found;
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class Photo {
  constructor(section) {
    this.stage = section.querySelector(".stage");
    this.canvas = section.querySelector("canvas");
    this.slider = section.querySelector("input[type=range]");
    this.output = section.querySelector("output");
    this.cross = section.querySelector(".cross");
    this.texts = [...section.querySelectorAll("p[data-head]")];
    this.size = [this.canvas.width, this.canvas.height];
    this.cursor = null;
    this.maps = new Map();
    this.slider.addEventListener("input", () => this.slide());
    this.stage.addEventListener("pointermove", (event) => this.point(event));
    this.stage.addEventListener("pointerdown", (event) => this.point(event));
    this.stage.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("blur", () => this.leave());
    this.slide();
    this.leave();
  }

  async map() {
    const index = head();
    if (!this.maps.has(index)) this.maps.set(index, unpacked(this.stage.dataset.maps.split(" ")[index]));
    return this.maps.get(index);
  }

  async paint() {
    const map = await this.map(), known = classes(), [width, height] = this.size;
    const pixels = new ImageData(width, height), colours = new Uint32Array(256);
    const bytes = new Uint8Array(colours.buffer);
    for (const [label, { rgb, painted }] of known)
      if (painted) bytes.set([...rgb, Math.round(255 * STRENGTH)], 4 * label);
    const painted = new Uint32Array(pixels.data.buffer);
    for (let at = 0; at < painted.length; at++) painted[at] = colours[map[at]];
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
    this.texts.forEach((text) => (text.hidden = Number(text.dataset.head) !== head()));
    if (this.cursor) this.tell();
  }

  slide() {
    this.stage.style.setProperty("--at", `${this.slider.value}%`);
    this.slider.setAttribute("aria-valuetext", `${this.slider.value} % photo`);
  }

  point(event) {
    const box = this.stage.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    this.move(at.map((share, axis) => Math.floor(share * this.size[axis])));
    this.cross.hidden = event.pointerType === "mouse"; // which shows where it is
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!steps) return;
    event.preventDefault();
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(...this.size) / 50));
    const from = this.cursor ?? this.size.map((length) => Math.floor(length / 2));
    this.move(from.map((at, axis) => at + step * steps[axis]));
    this.cross.hidden = false;
  }

  move(at) {
    this.cursor = at.map((place, axis) => Math.min(Math.max(place, 0), this.size[axis] - 1));
    ["--x", "--y"].forEach((name, axis) =>
      this.cross.style.setProperty(name, `${(100 * (this.cursor[axis] + 0.5)) / this.size[axis]}%`));
    this.tell();
  }

  async tell() {
    const map = await this.map(), [x, y] = this.cursor ?? [-1, -1], [width, height] = this.size;
    if (x < 0) return;
    const label = map[y * width + x], sure = map[width * height + y * width + x];
    const known = classes().get(label);
    const dot = document.createElement("span");
    dot.className = "dot";
    dot.style.background = known?.colour ?? "transparent";
    this.output.replaceChildren(dot, `${known?.name ?? `label ${label}`}, ${sure} %`);
  }

  leave() {
    this.cursor = null;
    this.cross.hidden = true;
    this.output.textContent = "Point at the picture, or use the arrow keys on it, to see a pixel's class.";
  }
}

const photos = new Map([...document.querySelectorAll(".photos > section")].map((it) => [it, new Photo(it)]));
const near = new Set();
const repaint = () => near.forEach((section) => photos.get(section).paint());
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    near[isIntersecting ? "add" : "delete"](target);
    if (isIntersecting) photos.get(target).paint();
  }
}, { rootMargin: "100%" });
photos.forEach((_, section) => watcher.observe(section));

document.querySelector("aside").addEventListener("change", () => {
  document.querySelectorAll("fieldset[data-head]").forEach((set) => (set.hidden = set !== classesOf(head())));
  repaint();
});
document.querySelector("aside").addEventListener("click", ({ target }) => {
  if (target.tagName !== "BUTTON") return;
  target.closest("fieldset").querySelectorAll("input").forEach((box) => (box.checked = target.value === "All"));
  repaint();
});
