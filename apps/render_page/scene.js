// The slices stacked in 3D: solid up to the current slice, the tumour's surfaces above it. Patient axes: left is +x, head +y, front +z.
"use strict";

// Angles in radians that show the current slice, by the direction in which the stack grows.
const FIRST_LOOK = { S: { azimuth: 0.5, elevation: 0.62 }, A: { azimuth: 0.5, elevation: 0.35 }, R: { azimuth: -1, elevation: 0.35 } };

function makeScene(canvas, volume, requestFrame) {
  const context = canvas.getContext("webgl", { alpha: true, antialias: true, preserveDrawingBuffer: false });
  if (context === null) return null;
  const renderer = new THREE.WebGLRenderer({ canvas, context, alpha: true, antialias: true });
  renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
  const DIRECTIONS = { L: [1, 0, 0], R: [-1, 0, 0], S: [0, 1, 0], I: [0, -1, 0], A: [0, 0, 1], P: [0, 0, -1] };
  const size = [volume.width, volume.height, volume.slices];
  const steps = [volume.order.right, volume.order.below, volume.order.next].map((letter, axis) =>
    new THREE.Vector3().fromArray(DIRECTIONS[letter]).multiplyScalar(volume.spacing[axis]));
  const box = boundingBox(volume);
  const lengths = [0, 1, 2].map((axis) => (box.high[axis] - box.low[axis]) * volume.spacing[axis]);
  const radius = Math.hypot(...lengths) / 2;

  // Everything below `voxels` has voxel coordinates: x to the right, y down, z through the stack.
  const scene = new THREE.Scene(), voxels = new THREE.Group();
  const matrix = new THREE.Matrix4().makeBasis(...steps);
  const centre = new THREE.Vector3(...[0, 1, 2].map((axis) => (box.low[axis] + box.high[axis]) / 2)).applyMatrix4(matrix);
  voxels.matrix.copy(matrix).setPosition(centre.negate());
  voxels.matrixAutoUpdate = false;
  scene.add(voxels);

  const camera = new THREE.PerspectiveCamera(32, 1, radius / 50, radius * 40);
  scene.add(camera, new THREE.AmbientLight(0xffffff, 0.55));
  const lamp = new THREE.DirectionalLight(0xffffff, 0.65);
  lamp.position.set(0.4, 0.7, 1);
  camera.add(lamp);

  const stack = makeStack(volume, box, renderer.capabilities.maxTextureSize);
  voxels.add(stack.below, stack.beyond);
  const current = makeCurrent(volume);
  voxels.add(current.mesh);
  const tumours = { prediction: makeTumours(volume.prediction), truth: makeTumours(volume.truth) };
  voxels.add(tumours.prediction, tumours.truth);
  addLetters();

  // A surface for each class: those inside are solid, the outermost (oedema) lets them be seen.
  function makeTumours(classes) {
    const group = new THREE.Group();
    if (!classes) return group;
    volume.colours.forEach((colour, c) => {
      if (c === 0) return;
      const surface = Surface.of(classes, size, c);
      if (surface === null) return;
      const geometry = new THREE.BufferGeometry();
      geometry.setAttribute("position", new THREE.Float32BufferAttribute(surface.positions, 3));
      geometry.setIndex(surface.indices);
      geometry.computeVertexNormals();
      const opacity = c === 2 ? 0.4 : 1;
      const material = new THREE.MeshLambertMaterial({ color: colour, opacity, transparent: true, side: THREE.DoubleSide,
        depthWrite: opacity === 1 });  // all transparent: drawn after the faint cards
      const mesh = new THREE.Mesh(geometry, material);
      mesh.renderOrder = c === 2 ? 3 : 2;
      group.add(mesh);
    });
    return group;
  }

  function addLetters() {
    for (const [letter, direction] of Object.entries(DIRECTIONS)) {
      const picture = document.createElement("canvas");
      picture.width = picture.height = 64;
      const draw = picture.getContext("2d");
      draw.font = "44px sans-serif";
      draw.textAlign = "center";
      draw.textBaseline = "middle";
      draw.fillStyle = "#bdc1c6";
      draw.fillText(letter, 32, 34);
      const sprite = new THREE.Sprite(new THREE.SpriteMaterial({ map: new THREE.CanvasTexture(picture), depthWrite: false }));
      const half = steps.map((step, axis) => Math.abs(step.dot(new THREE.Vector3(...direction))) / volume.spacing[axis] * lengths[axis] / 2);
      sprite.position.fromArray(direction).multiplyScalar(Math.max(...half) + radius * 0.12);
      sprite.scale.setScalar(radius * 0.14);
      scene.add(sprite);
    }
  }

  const orbit = makeOrbit(canvas, FIRST_LOOK[volume.order.next], requestFrame);
  function place() {
    const { azimuth, elevation, zoom } = orbit.state, aspect = canvas.clientWidth / Math.max(canvas.clientHeight, 1);
    const distance = radius * 0.92 / Math.sin(camera.fov * Math.PI / 360) / Math.min(1, aspect) / zoom;
    camera.position.set(Math.sin(azimuth) * Math.cos(elevation), Math.sin(elevation), Math.cos(azimuth) * Math.cos(elevation))
      .multiplyScalar(distance);
    camera.up.set(0, 1, 0);
    camera.lookAt(0, 0, 0);
    camera.aspect = aspect;
    camera.updateProjectionMatrix();
  }

  return {
    orbit: orbit.state,
    // `picture`: the canvas of the current slice.
    update(slice, layers, picture) {
      stack.show(slice, layers);
      current.show(slice, picture);
      tumours.prediction.visible = layers.prediction;
      tumours.truth.visible = layers.truth && !layers.prediction;  // one inside the other would hide it
    },
    draw() {
      const width = canvas.clientWidth, height = canvas.clientHeight, now = renderer.getSize(new THREE.Vector2());
      if (now.x !== width || now.y !== height) renderer.setSize(width, height, false);
      place();
      renderer.render(scene, camera);
    },
  };
}

// Voxels with anything in them; the whole volume if there are none. high is exclusive.
function boundingBox(volume) {
  const { width: w, height: h, slices: n } = volume, low = [w, h, n], high = [0, 0, 0];
  const sources = [volume.image, volume.prediction, volume.truth].filter(Boolean);
  for (let z = 0, i = 0; z < n; z++) {
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++, i++) {
        if (!sources.some((source) => source[i] !== 0)) continue;
        if (x < low[0]) low[0] = x;
        if (y < low[1]) low[1] = y;
        if (z < low[2]) low[2] = z;
        if (x >= high[0]) high[0] = x + 1;
        if (y >= high[1]) high[1] = y + 1;
        if (z >= high[2]) high[2] = z + 1;
      }
    }
  }
  return high[0] === 0 ? { low: [0, 0, 0], high: [w, h, n] } : { low, high };
}

// A card for every slice, all with parts of one texture.
function makeStack(volume, box, largest) {
  const width = box.high[0] - box.low[0], height = box.high[1] - box.low[1], cards = box.high[2] - box.low[2];
  let every = 1, columns, rows;
  const tile = (length) => Math.ceil(length / every);
  for (;; every++) {
    columns = Math.max(1, Math.min(cards, Math.floor(Math.min(largest, 4096) / tile(width))));
    rows = Math.ceil(cards / columns);
    if (rows * tile(height) <= Math.min(largest, 4096) && tile(width) <= largest) break;
  }
  const atlasWidth = columns * tile(width), atlasHeight = rows * tile(height);
  const pixels = new Uint8Array(4 * atlasWidth * atlasHeight);
  const texture = new THREE.DataTexture(pixels, atlasWidth, atlasHeight, THREE.RGBAFormat);
  texture.minFilter = THREE.LinearFilter;
  texture.magFilter = THREE.LinearFilter;

  function paint(layers) {
    for (let card = 0; card < cards; card++) {
      const left = (card % columns) * tile(width), top = Math.floor(card / columns) * tile(height);
      for (let y = 0; y < tile(height); y++) {
        for (let x = 0; x < tile(width); x++) {
          const voxel = box.low[0] + x * every + volume.width * (box.low[1] + y * every + volume.height * (box.low[2] + card));
          paintVoxel(volume, layers, voxel, pixels, 4 * (left + x + atlasWidth * (top + y)));
        }
      }
    }
    texture.needsUpdate = true;
  }

  const positions = [], uvs = [], indices = [];
  for (let card = 0; card < cards; card++) {
    const left = (card % columns) * tile(width), top = Math.floor(card / columns) * tile(height);
    for (const [u, v] of [[0, 0], [1, 0], [0, 1], [1, 1]]) {
      positions.push(box.low[0] + u * width, box.low[1] + v * height, box.low[2] + card + 0.5);
      uvs.push((left + u * (tile(width) - 1) + 0.5) / atlasWidth, (top + v * (tile(height) - 1) + 0.5) / atlasHeight);
    }
    indices.push(...[0, 1, 2, 2, 1, 3].map((corner) => 4 * card + corner));
  }
  const part = (material, chosen) => {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.Float32BufferAttribute(positions, 3));
    geometry.setAttribute("uv", new THREE.Float32BufferAttribute(uvs, 2));
    geometry.setIndex(chosen);
    return new THREE.Mesh(geometry, material);
  };
  const options = { map: texture, side: THREE.DoubleSide, alphaTest: 0.5 };
  const below = part(new THREE.MeshBasicMaterial({ ...options, color: 0xb0b0b0 }), indices);
  // Beyond the current slice: a few cards, each faint.
  const spaced = Math.max(1, Math.round(cards / 14));
  const beyond = part(new THREE.MeshBasicMaterial({ ...options, transparent: true, opacity: 0.11, alphaTest: 0.05, depthWrite: false }),
    indices.filter((_, i) => Math.floor(i / 6) % spaced === 0));
  beyond.renderOrder = 1;

  let painted = "";
  return {
    below,
    beyond,
    show(slice, layers) {
      const key = JSON.stringify([layers.image, layers.prediction, layers.truth]);
      if (key !== painted) paint(layers);
      painted = key;
      const count = Math.min(Math.max(slice - box.low[2], 0), cards);
      below.geometry.setDrawRange(0, 6 * count);
      const first = Math.ceil((count + 1) / spaced);
      beyond.geometry.setDrawRange(6 * first, Infinity);
      beyond.visible = layers.beyond;
    },
  };
}

// The current slice, with the picture of the 2D view on it.
function makeCurrent(volume) {
  const geometry = new THREE.PlaneBufferGeometry(volume.width, volume.height);
  geometry.translate(volume.width / 2, volume.height / 2, 0);
  const material = new THREE.MeshBasicMaterial({ side: THREE.DoubleSide, alphaTest: 0.5 });
  const mesh = new THREE.Mesh(geometry, material);
  return {
    mesh,
    show(slice, picture) {
      if (material.map === null) {
        material.map = new THREE.CanvasTexture(picture);
        material.map.flipY = false;  // y runs down, in the picture and in the stack
        material.map.generateMipmaps = false;
        material.map.minFilter = THREE.LinearFilter;
        material.needsUpdate = true;
      }
      material.map.needsUpdate = true;
      mesh.position.z = slice + 0.5;
    },
  };
}

// Turning by drag, zoom by wheel and pinch: mouse, pen and touch alike.
function makeOrbit(canvas, look, changed) {
  const state = { ...look, zoom: 1 }, pointers = new Map();
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };
  const zoomBy = (factor) => {
    state.zoom = Math.min(Math.max(state.zoom * factor, 0.4), 8);
    changed();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (last === undefined) return;
    const before = pointers.size === 2 ? spread() : 0, dx = event.clientX - last.x, dy = event.clientY - last.y;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 2) return zoomBy(spread() / Math.max(before, 1));
    if (pointers.size > 2) return undefined;
    state.azimuth -= dx * 0.008;
    state.elevation = Math.min(Math.max(state.elevation + dy * 0.008, -1.5), 1.5);
    return changed();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * 0.001));
  }, { passive: false });
  return { state };
}
