// Data, controls and the 2D view. The page's state is on <html>: data-state (loading, ready, failed), data-slice, data-webgl, data-view.
"use strict";

// Bytes from base64 of a zlib stream; with `differences` each byte is stored as its difference from the one before.
async function unpack(base64, differences) {
  const text = atob(base64), packed = new Uint8Array(text.length);
  for (let i = 0; i < packed.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (differences) {
    for (let i = 1; i < bytes.length; i++) bytes[i] += bytes[i - 1];
  }
  return bytes;
}

async function readVolume() {
  const meta = JSON.parse(document.getElementById("meta").textContent), { data, ...volume } = meta;
  volume.image = data.image ? await unpack(data.image, true) : null;
  volume.prediction = await unpack(data.prediction, false);
  volume.truth = data.truth ? await unpack(data.truth, false) : null;
  volume.rgb = volume.colours.map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
  return volume;
}

// One voxel of a card in the stack: the image under the tint of the prediction, or of the truth where there is no prediction.
// Nothing is transparent.
function paintVoxel(volume, layers, voxel, pixels, at) {
  const grey = layers.image ? volume.image[voxel] : 0;
  const c = (layers.prediction && volume.prediction[voxel]) || (layers.truth && volume.truth[voxel]) || 0;
  for (let channel = 0; channel < 3; channel++)
    pixels[at + channel] = c === 0 ? grey : grey * (1 - volume.alpha) + volume.rgb[c][channel] * volume.alpha;
  pixels[at + 3] = grey > 0 || c > 0 ? 255 : 0;
}

// Draws slices on a canvas: image and filled prediction, outlines of the truth.
function makePainter(canvas, volume) {
  const { width: w, height: h } = volume, scale = 720 / Math.max(w * volume.spacing[0], h * volume.spacing[1]);
  const across = scale * volume.spacing[0], down = scale * volume.spacing[1];
  canvas.width = Math.max(1, Math.round(w * across));
  canvas.height = Math.max(1, Math.round(h * down));
  const small = document.createElement("canvas"), out = canvas.getContext("2d"), layer = small.getContext("2d");
  small.width = w;
  small.height = h;
  const pixels = layer.createImageData(w, h);

  function stretch(smooth) {
    layer.putImageData(pixels, 0, 0);
    out.imageSmoothingEnabled = smooth;
    out.drawImage(small, 0, 0, canvas.width, canvas.height);
  }
  function grey(bytes) {
    for (let i = 0; i < bytes.length; i++) pixels.data.set([bytes[i], bytes[i], bytes[i], bytes[i] === 0 ? 0 : 255], 4 * i);
    stretch(true);
  }
  function fill(classes) {
    const alpha = Math.round(255 * volume.alpha);
    for (let i = 0; i < classes.length; i++) pixels.data.set([...volume.rgb[classes[i]], classes[i] === 0 ? 0 : alpha], 4 * i);
    stretch(false);
  }
  function outline(classes) {
    const at = (x, y) => (x < 0 || y < 0 || x >= w || y >= h ? 0 : classes[x + w * y]);
    out.lineWidth = 2.5;
    out.lineCap = "round";
    volume.colours.forEach((colour, c) => {
      if (c === 0) return;
      out.strokeStyle = colour;
      out.beginPath();
      for (let y = 0; y < h; y++) {
        for (let x = 0; x < w; x++) {
          if (at(x, y) !== c) continue;
          const sides = [[x - 1, y, 0, 0, 0, 1], [x + 1, y, 1, 0, 1, 1], [x, y - 1, 0, 0, 1, 0], [x, y + 1, 0, 1, 1, 1]];
          for (const [nx, ny, x0, y0, x1, y1] of sides) {
            if (at(nx, ny) === c) continue;
            out.moveTo((x + x0) * across, (y + y0) * down);
            out.lineTo((x + x1) * across, (y + y1) * down);
          }
        }
      }
      out.stroke();
    });
  }

  return function paint(slice, layers) {
    const of = (source) => source.subarray(slice * w * h, (slice + 1) * w * h);
    out.clearRect(0, 0, canvas.width, canvas.height);
    if (layers.image) grey(of(volume.image));
    if (layers.prediction) fill(of(volume.prediction));
    if (layers.truth) outline(of(volume.truth));
  };
}

function fillTexts(volume) {
  const text = (selector, words) => { document.querySelector(selector).textContent = words; };
  text("#id", volume.id);
  text("#what", volume.image ? `on ${volume.image_name}` : "without an image");
  text("#axis", `${volume.axis} slice`);
  text(".side.left", volume.order.left);
  text(".side.right", volume.order.right);
  text(".side.above", volume.order.above);
  text(".side.below", volume.order.below);
  for (const entry of volume.legend) {
    const row = document.getElementById("legend").insertRow(), swatch = document.createElement("span");
    swatch.className = "swatch";
    for (const c of entry.classes) swatch.appendChild(document.createElement("i")).style.background = volume.colours[c];
    row.insertCell().appendChild(swatch);
    row.insertCell().textContent = entry.text;
    row.insertCell().textContent = entry.dice;
  }
}

function start(volume) {
  const root = document.documentElement, slider = document.getElementById("number"), shown = document.getElementById("shown");
  const picture = document.getElementById("slice"), paint = makePainter(picture, volume);
  let slice = volume.slice, waiting = false, stale = true;
  const boxes = ["image", "prediction", "truth", "beyond"].map((name) => document.getElementById(name));
  const layers = () => Object.fromEntries(boxes.map((box) => [box.id, box.checked && !box.disabled]));

  function frame() {
    waiting = false;
    if (stale) {
      paint(slice, layers());
      if (scene) scene.update(slice, layers(), picture);
      stale = false;
    }
    if (scene) {
      scene.draw();
      root.dataset.view = JSON.stringify(scene.orbit);
    }
    root.dataset.slice = slice;
    root.dataset.state = "ready";
  }
  function requestFrame() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(frame);
  }
  const scene = makeScene(document.getElementById("scene"), volume, requestFrame);
  root.dataset.webgl = scene === null ? "missing" : "working";
  if (scene === null) {
    document.getElementById("scene").hidden = true;
    document.querySelector(".hint").hidden = true;
    document.getElementById("no-webgl").hidden = false;
  }
  function go(to) {
    slice = Math.min(Math.max(to, 0), volume.slices - 1);
    slider.value = slice;
    shown.textContent = `${slice} of 0–${volume.slices - 1}`;
    stale = true;
    requestFrame();
  }

  slider.max = volume.slices - 1;
  slider.addEventListener("input", () => go(Number(slider.value)));
  document.getElementById("previous").addEventListener("click", () => go(slice - 1));
  document.getElementById("next").addEventListener("click", () => go(slice + 1));
  picture.addEventListener("wheel", (event) => {
    event.preventDefault();
    go(slice - Math.sign(event.deltaY));
  }, { passive: false });
  document.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
    if (!(event.key in steps) || event.target === slider || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(slice + steps[event.key]);
  });
  for (const box of boxes) {
    box.disabled = box.id === "image" ? !volume.image : box.id === "truth" ? !volume.truth : box.id === "beyond" && scene === null;
    box.addEventListener("change", () => {
      stale = true;
      requestFrame();
    });
  }
  new ResizeObserver(requestFrame).observe(document.querySelector("main"));
  fillTexts(volume);
  go(slice);
}

document.documentElement.dataset.state = "loading";
readVolume().then(start).catch((error) => {
  document.documentElement.dataset.state = "failed";
  document.getElementById("id").textContent = `This page could not be shown: ${error.message}`;
  throw error;
});
