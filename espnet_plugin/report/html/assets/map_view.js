"use strict";

// One attention map on canvases: a picture that is zoomed and moved, never an element per cell.
// Coordinates are frames: frame t covers t to t + 1, its middle is the instant of its sample.

const COLOURS = {
  cividis: CIVIDIS,
  magma: [[0, "#000004"], [0.125, "#1d1147"], [0.25, "#51127c"], [0.375, "#832681"], [0.5, "#b73779"],
    [0.625, "#e75263"], [0.75, "#fc8961"], [0.875, "#fec488"], [1, "#fcfdbf"]],
  grey: [[0, "#ffffff"], [1, "#000000"]],
};
const CURSOR = "#ff5a1f";
const VOWELS = /^(A[AEHOWY]|E[HRY]|I[HY]|O[WY]|U[HW])\d?$/;

/** 256 colours as little-endian ABGR words; gain above 1 brightens small weights. */
function palette(name, gain) {
  const stops = COLOURS[name].map(([at, hex]) => [at, [1, 3, 5].map((n) => parseInt(hex.slice(n, n + 2), 16))]);
  const words = new Uint32Array(256);
  for (let level = 0; level < 256; level++) {
    const value = Math.pow(level / 255, 1 / gain);
    let n = 1;
    while (n < stops.length - 1 && stops[n][0] < value) n++;
    const [[from, low], [to, high]] = [stops[n - 1], stops[n]];
    const part = Math.min(1, Math.max(0, (value - from) / (to - from)));
    const [r, g, b] = low.map((one, c) => Math.round(one + (high[c] - one) * part));
    words[level] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return words;
}

/** Levels of a picture: {side, levels}; then halves of it, each cell the highest of four. */
async function decodePicture(blob) {
  const bitmap = await createImageBitmap(blob, {colorSpaceConversion: "none", premultiplyAlpha: "none"});
  const side = bitmap.width;
  const canvas = new OffscreenCanvas(side, bitmap.height);
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(bitmap, 0, 0);
  const rgba = new Uint32Array(context.getImageData(0, 0, side, bitmap.height).data.buffer);
  const levels = new Uint8Array(rgba.length);
  for (let n = 0; n < rgba.length; n++) levels[n] = rgba[n] & 255;
  bitmap.close();
  return {side, height: canvas.height, levels};
}

function halve({side, levels}) {
  const half = Math.ceil(side / 2);
  const found = new Uint8Array(half * half);
  for (let y = 0; y < side; y++) {
    const row = (y >> 1) * half;
    for (let x = 0; x < side; x++) {
      const at = row + (x >> 1);
      const value = levels[y * side + x];
      if (value > found[at]) found[at] = value;
    }
  }
  return {side: half, levels: found};
}

function paint({side, levels}, words, height = side) {
  const canvas = new OffscreenCanvas(side, height);
  const image = new ImageData(side, height);
  const out = new Uint32Array(image.data.buffer);
  for (let n = 0; n < out.length; n++) out[n] = words[levels[n]];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

class MapView {
  /** stage: an element that holds the canvases; told: {seek(frame), read(text), play(), looked(),
   * pointed()}: text is null where nothing is read; the last two when another part is looked at,
   * and another weight. */
  constructor(stage, told) {
    this.stage = stage;
    this.told = told;
    this.under = make("canvas", {"aria-hidden": "true"});
    this.over = make("canvas", {class: "over", tabindex: "0", role: "application",
      "aria-label": "Attention map", "aria-describedby": "keys"});
    stage.append(this.under, this.over);
    this.left = 46;
    this.top = 92;
    this.profile = 76;
    this.colours = "magma";
    this.gain = 1;
    this.frames = 1;
    this.view = {x: 0, y: 0, span: 1};
    this.point = null;
    this.cursor = null;
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(stage);
    this.listen();
  }

  /** Another utterance: frames, intervals in frames ({start, end, label}), outline of the sound,
   * time(frame) and its inverse frame(time). */
  setUtterance({frames, phones, words, outline, start, end, time, frame}) {
    const same = frames === this.frames;
    Object.assign(this, {frames, phones, words, outline, start, end, time, frame});
    if (!same || !this.levels) this.view = {x: 0, y: 0, span: frames};
    this.point = null;
    this.told.read(null);
    this.cursor = null;
  }

  setMap(picture, maximum, label) {
    this.levels = [picture];
    this.canvases = [];
    this.maximum = maximum;
    this.over.setAttribute("aria-label", label);
    this.draw();
    this.report();
  }

  setColours(name, gain) {
    this.colours = name;
    this.gain = gain;
    this.canvases = [];
    this.draw();
  }

  resize() {
    const width = this.stage.clientWidth;
    if (!width) return;
    const side = Math.max(140, Math.min(width - this.left - 10, 860));
    this.side = side;
    const height = this.top + side + this.profile + 34;
    this.stage.style.height = `${height}px`;
    this.ratio = Math.min(devicePixelRatio || 1, 2.5);
    for (const canvas of [this.under, this.over]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.draw();
  }

  // -- Coordinates ---------------------------------------------------------------------------

  xOf(frame) { return this.left + ((frame - this.view.x) / this.view.span) * this.side; }
  yOf(frame) { return this.top + ((frame - this.view.y) / this.view.span) * this.side; }
  keyAt(x) { return this.view.x + ((x - this.left) / this.side) * this.view.span; }
  queryAt(y) { return this.view.y + ((y - this.top) / this.side) * this.view.span; }
  inside(x, y) {
    return x >= this.left && x < this.left + this.side && y >= this.top && y < this.top + this.side;
  }

  clamp() {
    const view = this.view;
    view.span = Math.min(this.frames, Math.max(Math.min(8, this.frames), view.span));
    view.x = Math.min(this.frames - view.span, Math.max(0, view.x));
    view.y = Math.min(this.frames - view.span, Math.max(0, view.y));
  }

  zoom(factor, key = this.view.x + this.view.span / 2, query = this.view.y + this.view.span / 2) {
    const view = this.view;
    const before = view.span;
    view.span = before * factor;
    view.span = Math.min(this.frames, Math.max(Math.min(8, this.frames), view.span));
    view.x = key - (key - view.x) * (view.span / before);
    view.y = query - (query - view.y) * (view.span / before);
    this.clamp();
    this.told.looked();
    this.ask();
  }

  pan(keys, queries) {
    this.view.x += keys;
    this.view.y += queries;
    this.clamp();
    this.told.looked();
    this.ask();
  }

  reset() {
    this.view = {x: 0, y: 0, span: this.frames};
    this.told.looked();
    this.ask();
  }

  /** Show the stretch of time and the weight that another view shows. */
  like(other) {
    const scale = (other.time(1) - other.time(0)) / (this.time(1) - this.time(0));
    const place = (frame) => this.frame(other.time(frame));
    this.view = {x: place(other.view.x), y: place(other.view.y), span: other.view.span * scale};
    this.clamp();
    this.pointLike(other);
    this.ask();
  }

  pointLike(other) {
    const limit = (frame) => Math.min(this.frames - 1, Math.max(0, Math.floor(this.frame(other.time(frame + 0.5)))));
    this.point = other.point && {key: limit(other.point.key), query: limit(other.point.query)};
    this.report();
    this.drawOver();
  }

  /** Draw once before the next picture of the screen, however often it is asked. */
  ask() {
    this.asked ??= requestAnimationFrame(() => {
      this.asked = null;
      this.draw();
    });
  }

  // -- Drawing -------------------------------------------------------------------------------

  painted(n) {
    while (this.levels.length <= n) this.levels.push(halve(this.levels[this.levels.length - 1]));
    this.words256 ??= {};
    const name = `${this.colours} ${this.gain}`;
    const words = (this.words256[name] ??= palette(this.colours, this.gain));
    return (this.canvases[n] ??= paint(this.levels[n], words));
  }

  draw() {
    if (!this.levels || !this.side) return;
    const context = this.under.getContext("2d", {alpha: false});
    const {left, top, side, view} = this;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = colour("card");
    context.fillRect(0, 0, this.under.width, this.under.height);
    const cell = (side * this.ratio) / view.span;
    let n = 0;
    while (cell * 2 ** (n + 1) <= 1.5 && this.frames / 2 ** n > 64) n++;
    const picture = this.painted(n);
    const unit = 2 ** n;
    context.imageSmoothingEnabled = cell * unit < 1;
    context.drawImage(picture, view.x / unit, view.y / unit, view.span / unit, view.span / unit, left, top, side, side);
    this.drawAxes(context);
    this.drawOver();
  }

  drawAxes(context) {
    const {left, top, side, view} = this;
    const ink = colour("ink"), soft = colour("soft"), line = colour("line");
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    context.save();
    context.beginPath();
    context.rect(left, 0, side, top);
    context.clip();
    this.drawOutline(context, soft);
    context.textAlign = "center";
    for (const one of this.words) this.interval(context, one, "x", 42, 20, ink, line, soft);
    for (const one of this.phones) this.interval(context, one, "x", 66, 20, ink, line, soft);
    context.restore();
    context.save();
    context.beginPath();
    context.rect(0, top, left, side);
    context.clip();
    for (const one of this.phones) this.interval(context, one, "y", 6, left - 10, ink, line, soft);
    context.restore();
    context.strokeStyle = line;
    context.strokeRect(left - 0.5, top - 0.5, side + 1, side + 1);
    this.drawTicks(context, soft);
  }

  interval(context, {start, end, label}, axis, at, depth, ink, line, soft) {
    const [from, to] = axis === "x" ? [this.xOf(start), this.xOf(end)] : [this.yOf(start), this.yOf(end)];
    const edge = (axis === "x" ? this.left : this.top);
    if (to < edge || from > edge + this.side) return;
    const kind = label === "SIL" ? line : VOWELS.test(label) ? colour("diagonal") : null;
    if (kind) {
      context.globalAlpha = 0.55;
      context.fillStyle = kind;
      if (axis === "x") context.fillRect(from, at - 1, to - from, depth);
      else context.fillRect(4, from, depth, to - from);
      context.globalAlpha = 1;
    }
    context.fillStyle = line;
    if (to - from > 3) {
      if (axis === "x") context.fillRect(from, at - 1, 1, depth);
      else context.fillRect(4, from, depth, 1);
    }
    const room = Math.min(to, edge + this.side) - Math.max(from, edge);
    const needed = axis === "x" ? context.measureText(label).width + 3 : 11;
    if (room < needed) return;
    const middle = (Math.min(to, edge + this.side) + Math.max(from, edge)) / 2;
    context.fillStyle = label === "SIL" ? soft : ink;
    if (axis === "x") context.fillText(label, middle, at + 9);
    else {
      context.textAlign = "right";
      context.fillText(label, this.left - 6, middle);
      context.textAlign = "center";
    }
  }

  drawOutline(context, soft) {
    if (!this.outline) return;
    context.fillStyle = soft;
    const {outline, start, end} = this;
    const count = outline.length;
    const step = (end - start) / count;
    const width = Math.max(1, this.xOf(step) - this.xOf(0));
    for (let n = 0; n < count; n++) {
      const x = this.xOf(start + n * step);
      if (x < this.left - width || x > this.left + this.side) continue;
      const height = (outline[n] / 255) * 34;
      context.fillRect(x, 20 - height / 2, width, Math.max(1, height));
    }
  }

  drawTicks(context, soft) {
    const {left, top, side} = this;
    const seconds = this.time(this.view.x + this.view.span) - this.time(this.view.x);
    const power = 10 ** Math.floor(Math.log10(seconds / 5));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => seconds / one <= 8);
    const perFrame = this.time(1) - this.time(0);
    context.fillStyle = soft;
    context.textAlign = "center";
    const bottom = top + side + this.profile;
    for (let n = Math.ceil(this.time(this.view.x) / step); ; n++) {
      const frame = (n * step - this.time(0)) / perFrame;
      if (frame > this.view.x + this.view.span) break;
      context.fillRect(this.xOf(frame), bottom, 1, 4);
      context.fillText(`${Number((n * step).toFixed(3))} s`, this.xOf(frame), bottom + 13);
    }
    context.fillText("key: what the frame attends to", left + side / 2, bottom + 28);
    if (!this.phones.length) {
      context.save();
      context.translate(14, top + side / 2);
      context.rotate(-Math.PI / 2);
      context.fillText("query frame", 0, 0);
      context.restore();
    }
  }

  /** The row of a query, and the lines of the cursor and of what is being read. */
  drawOver() {
    const context = this.over.getContext("2d");
    const {left, top, side} = this;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.over.width, this.over.height);
    if (this.cursor !== null) {
      const x = this.xOf(this.cursor), y = this.yOf(this.cursor);
      context.fillStyle = CURSOR;
      if (x >= left && x <= left + side) context.fillRect(x - 0.75, 0, 1.5, top + side + this.profile);
      if (y >= top && y <= top + side) context.fillRect(0, y - 0.75, left + side, 1.5);
    }
    if (this.point) {
      const x = this.xOf(this.point.key + 0.5), y = this.yOf(this.point.query + 0.5);
      context.strokeStyle = this.colours === "grey" ? "#b3480a" : "#ffffff";
      context.setLineDash([4, 3]);
      context.lineWidth = 1;
      context.beginPath();
      if (y >= top && y <= top + side) { context.moveTo(left, y); context.lineTo(left + side, y); }
      if (x >= left && x <= left + side) { context.moveTo(x, top); context.lineTo(x, top + side); }
      context.stroke();
      context.setLineDash([]);
    }
    this.drawProfile(context);
  }

  queryShown() {
    if (this.point) return this.point.query;
    if (this.cursor !== null) return Math.min(this.frames - 1, Math.max(0, Math.floor(this.cursor)));
    return null;
  }

  drawProfile(context) {
    const query = this.queryShown();
    const {left, top, side, profile, view} = this;
    const base = top + side + profile - 2;
    const soft = colour("soft");
    context.fillStyle = soft;
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "left";
    if (query === null) {
      context.fillText("Point at the map, or play, to see a row.", left + 6, base - profile / 2);
      return;
    }
    const {side: frames, levels} = this.levels[0];
    const first = Math.floor(view.x), last = Math.min(frames - 1, Math.ceil(view.x + view.span));
    let highest = 1;
    for (let k = first; k <= last; k++) highest = Math.max(highest, levels[query * frames + k]);
    const columns = new Map();
    for (let k = first; k <= last; k++) {
      const x = Math.floor(this.xOf(k));
      columns.set(x, Math.max(columns.get(x) ?? 0, levels[query * frames + k]));
    }
    const width = Math.max(1, side / view.span);
    context.fillStyle = colour("accent");
    for (const [x, level] of columns) {
      const height = (level / highest) ** 2 * (profile - 16);
      const from = Math.max(left, x);
      context.fillRect(from, base - height, Math.min(width, left + side - from), height);
    }
    context.fillStyle = soft;
    context.fillText(`≤ ${show(this.weight(highest), 3)}`, left + 4, base - profile + 20);
  }

  weight(level) { return this.maximum * (level / 255) ** 2; }

  // -- Reading -------------------------------------------------------------------------------

  labelOf(frame) {
    const found = this.phones.find((one) => one.start <= frame + 0.5 && frame + 0.5 < one.end);
    return found ? ` ${found.label}` : "";
  }

  report() {
    if (!this.point || !this.levels) return;
    const {key, query} = this.point;
    const level = this.levels[0].levels[query * this.levels[0].side + key];
    const place = (frame) => `${frame} (${this.time(frame + 0.5).toFixed(3)} s${this.labelOf(frame)})`;
    this.told.read(`query ${place(query)} → key ${place(key)}: weight ≈ ${show(this.weight(level), 3)}`);
  }

  read(key, query) {
    const limit = (value) => Math.min(this.frames - 1, Math.max(0, Math.floor(value)));
    this.point = {key: limit(key), query: limit(query)};
    this.report();
    this.told.pointed();
    this.drawOver();
  }

  setCursor(frame) {
    this.cursor = frame;
    if (frame !== null && this.following) this.follow(frame);
    this.drawOver();
  }

  /** Keep the cursor in sight while the sound plays and the map is zoomed. */
  follow(frame) {
    const view = this.view;
    if (frame >= view.x && frame <= view.x + view.span && frame >= view.y && frame <= view.y + view.span) return;
    view.x = view.y = frame - view.span * 0.1;
    this.clamp();
    this.told.looked();
    this.draw();
  }

  // -- Pointer and keyboard --------------------------------------------------------------------

  at(event) {
    const box = this.over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  listen() {
    const over = this.over;
    over.addEventListener("wheel", (event) => {
      const [x, y] = this.at(event);
      if (!this.inside(x, y)) return;
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY * 0.0016), this.keyAt(x), this.queryAt(y));
    }, {passive: false});
    over.addEventListener("pointerdown", (event) => {
      const [x, y] = this.at(event);
      this.pointers.set(event.pointerId, [x, y]);
      over.setPointerCapture(event.pointerId);
      this.moved = this.pointers.size > 1;
    });
    over.addEventListener("pointermove", (event) => this.onMove(event));
    over.addEventListener("pointerup", (event) => {
      this.pointers.delete(event.pointerId);
      if (this.moved || event.button) return;
      const [x, y] = this.at(event);
      if (x >= this.left && x <= this.left + this.side) this.told.seek(this.keyAt(x));
      else if (y >= this.top && y <= this.top + this.side) this.told.seek(this.queryAt(y));
    });
    over.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    over.addEventListener("pointerleave", () => {
      if (document.activeElement === over) return;
      this.point = null;
      this.told.pointed();
      this.drawOver();
    });
    over.addEventListener("dblclick", () => this.reset());
    over.addEventListener("keydown", (event) => this.onKey(event));
  }

  onMove(event) {
    const [x, y] = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (this.inside(x, y)) this.read(this.keyAt(x), this.queryAt(y));
      return;
    }
    const scale = this.view.span / this.side;
    if (this.pointers.size === 1) {
      if (!this.moved && Math.hypot(x - before[0], y - before[1]) < 4) return;
      this.moved = true;
      this.pan((before[0] - x) * scale, (before[1] - y) * scale);
    } else {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (one) => Math.max(8, Math.hypot(one[0] - other[0], one[1] - other[1]));
      this.zoom(apart(before) / apart([x, y]), this.keyAt((x + other[0]) / 2), this.queryAt((y + other[1]) / 2));
    }
    this.pointers.set(event.pointerId, [x, y]);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    const {view} = this;
    if (event.key in moves) {
      const [keys, queries] = moves[event.key];
      if (event.shiftKey) this.pan(keys * view.span * 0.1, queries * view.span * 0.1);
      else {
        const step = Math.max(1, Math.round(view.span / 100));
        const from = this.point ?? {key: view.x + view.span / 2, query: view.y + view.span / 2};
        this.read(from.key + keys * step, from.query + queries * step);
        const {key, query} = this.point;
        if (key < view.x || key >= view.x + view.span) this.pan(keys * view.span * 0.25, 0);
        if (query < view.y || query >= view.y + view.span) this.pan(0, queries * view.span * 0.25);
      }
    } else if (event.key === "+" || event.key === "=") this.zoomHere(0.7);
    else if (event.key === "-") this.zoomHere(1 / 0.7);
    else if (event.key === "0") this.reset();
    else if (event.key === " ") this.told.play();
    else if (event.key === "Enter" && this.point) this.told.seek(this.point.key + 0.5);
    else return;
    event.preventDefault();
  }

  zoomHere(factor) {
    if (this.point) this.zoom(factor, this.point.key + 0.5, this.point.query + 0.5);
    else this.zoom(factor);
  }
}
