// Smooth surfaces of voxel masks, by naive surface nets (Gibson 1998): a vertex in every cell that the surface crosses, at the mean of
// its crossings, and a quad around every edge that it crosses.
"use strict";

const Surface = (function () {
  // A mask of one class, cut to its bounding box and a margin. null if the class is not there.
  function cutMask(classes, size, wanted) {
    const [w, h, n] = size, low = [w, h, n], high = [-1, -1, -1];
    for (let i = 0; i < classes.length; i++) {
      if (classes[i] !== wanted) continue;
      const at = [i % w, Math.floor(i / w) % h, Math.floor(i / (w * h))];
      for (let a = 0; a < 3; a++) {
        low[a] = Math.min(low[a], at[a]);
        high[a] = Math.max(high[a], at[a]);
      }
    }
    if (high[0] < 0) return null;
    const margin = 2, extent = high.map((value, a) => value - low[a] + 1 + 2 * margin);
    const field = new Float32Array(extent[0] * extent[1] * extent[2]);
    for (let z = low[2]; z <= high[2]; z++) {
      for (let y = low[1]; y <= high[1]; y++) {
        for (let x = low[0]; x <= high[0]; x++) {
          if (classes[x + w * (y + h * z)] !== wanted) continue;
          field[x - low[0] + margin + extent[0] * (y - low[1] + margin + extent[1] * (z - low[2] + margin))] = 1;
        }
      }
    }
    return { field, extent, origin: low.map((value) => value - margin) };
  }

  // The mean of three neighbours along each axis; the margin keeps the sums inside.
  function smooth(mask) {
    const strides = [1, mask.extent[0], mask.extent[0] * mask.extent[1]];
    for (const stride of strides) {
      const from = mask.field, to = new Float32Array(from.length);
      for (let i = stride; i < from.length - stride; i++) to[i] = (from[i - stride] + from[i] + from[i + stride]) / 3;
      mask.field = to;
    }
    return mask;
  }

  const CORNERS = [0, 1, 2, 3, 4, 5, 6, 7].map((c) => [c & 1, (c >> 1) & 1, c >> 2]);
  const EDGES = [];
  for (let a = 0; a < 8; a++) {
    for (const bit of [1, 2, 4]) if (!(a & bit)) EDGES.push([a, a | bit]);
  }

  // The vertex of the cell whose lowest corner is at `index`, relative to that corner; null if the surface does not cross it.
  function cellVertex(field, index, offsets, level) {
    let crossings = 0;
    const sum = [0, 0, 0];
    for (const [a, b] of EDGES) {
      const va = field[index + offsets[a]] - level, vb = field[index + offsets[b]] - level;
      if (va > 0 === vb > 0) continue;
      const t = va / (va - vb);
      for (let axis = 0; axis < 3; axis++) sum[axis] += CORNERS[a][axis] + t * (CORNERS[b][axis] - CORNERS[a][axis]);
      crossings++;
    }
    return crossings === 0 ? null : sum.map((value) => value / crossings);
  }

  // {positions, indices} in voxels (voxel centres at + 0.5), or null if nothing has the class.
  function of(classes, size, wanted) {
    const mask = cutMask(classes, size, wanted);
    if (mask === null) return null;
    const level = 0.3;  // sheets of one voxel stay
    const { field, extent, origin } = smooth(mask);
    const strides = [1, extent[0], extent[0] * extent[1]];
    const offsets = CORNERS.map((c) => c[0] + c[1] * strides[1] + c[2] * strides[2]);
    const vertexOf = new Int32Array(field.length).fill(-1), positions = [], indices = [];
    const quad = (a, b, c, d, inwards) => {
      if (inwards) indices.push(a, c, b, b, c, d);
      else indices.push(a, b, c, c, b, d);
    };
    for (let z = 0; z < extent[2] - 1; z++) {
      for (let y = 0; y < extent[1] - 1; y++) {
        for (let x = 0; x < extent[0] - 1; x++) {
          const index = x + y * strides[1] + z * strides[2], vertex = cellVertex(field, index, offsets, level);
          if (vertex === null) continue;
          vertexOf[index] = positions.length / 3;
          [x, y, z].forEach((value, axis) => positions.push(origin[axis] + value + vertex[axis] + 0.5));
          for (let axis = 0; axis < 3; axis++) {
            const u = strides[(axis + 1) % 3], v = strides[(axis + 2) % 3];
            const inside = field[index] > level;
            if (inside === field[index + strides[axis]] > level) continue;
            quad(vertexOf[index - u - v], vertexOf[index - u], vertexOf[index - v], vertexOf[index], !inside);
          }
        }
      }
    }
    return { positions, indices };
  }

  return { of };
})();
