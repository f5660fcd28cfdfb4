/** DBSCAN: points in dense places belong together, the others are noise.
 *
 * A point with at least `minPts` points within `eps` of it, itself included, is a core; cores within `eps` of each other are of
 * one cluster, and points within `eps` of a core belong to its cluster (the first found, when to several). */

/** Label of points that belong to no cluster. */
export const NOISE = -1;

/** Scales each axis to 0..1, so that a distance means the same on each. An axis without extent is 0. */
export function normalise(points: readonly (readonly number[])[]): number[][] {
  const axes = points[0]?.length ?? 0;
  const low = Array.from({ length: axes }, () => Number.POSITIVE_INFINITY);
  const high = Array.from({ length: axes }, () => Number.NEGATIVE_INFINITY);
  for (const point of points)
    for (let axis = 0; axis < axes; axis += 1) {
      const value = point[axis] ?? 0;
      low[axis] = Math.min(low[axis] ?? value, value);
      high[axis] = Math.max(high[axis] ?? value, value);
    }
  return points.map((point) =>
    Array.from({ length: axes }, (_, axis) => {
      const span = (high[axis] ?? 0) - (low[axis] ?? 0);
      return span > 0 ? ((point[axis] ?? 0) - (low[axis] ?? 0)) / span : 0;
    }),
  );
}

/** Cluster of each point, counted from 0 in order of size, or `NOISE`. */
export function dbscan(points: readonly (readonly number[])[], eps: number, minPts: number): number[] {
  const neighbours = neighbourhood(points, eps);
  const labels: (number | undefined)[] = points.map(() => undefined);
  let clusters = 0;
  for (let start = 0; start < points.length; start += 1) {
    if (labels[start] !== undefined) continue;
    const near = neighbours(start);
    if (near.length < minPts) {
      labels[start] = NOISE;
      continue;
    }
    const cluster = clusters++;
    labels[start] = cluster;
    const waiting = near;
    for (let point = waiting.pop(); point !== undefined; point = waiting.pop()) {
      if (labels[point] === NOISE) labels[point] = cluster;
      if (labels[point] !== undefined) continue;
      labels[point] = cluster;
      const reached = neighbours(point);
      if (reached.length >= minPts) for (const other of reached) waiting.push(other);
    }
  }
  return bySize(
    labels.map((label) => label ?? NOISE),
    clusters,
  );
}

/** Finds the points within `eps` of one, itself included: by cells of that width along the first two axes. */
function neighbourhood(points: readonly (readonly number[])[], eps: number): (of: number) => number[] {
  const cellOf = (value: number | undefined): number => Math.floor((value ?? 0) / eps);
  const cells = new Map<string, number[]>();
  points.forEach((point, index) => {
    const key = `${cellOf(point[0])},${cellOf(point[1])}`;
    const cell = cells.get(key);
    if (cell) cell.push(index);
    else cells.set(key, [index]);
  });
  return (of) => {
    const point = points[of] ?? [];
    const [x, y] = [cellOf(point[0]), cellOf(point[1])];
    const found: number[] = [];
    for (let dx = -1; dx <= 1; dx += 1)
      for (let dy = -1; dy <= 1; dy += 1)
        for (const other of cells.get(`${x + dx},${y + dy}`) ?? [])
          if (distance(point, points[other] ?? []) <= eps) found.push(other);
    return found;
  };
}

function distance(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let axis = 0; axis < a.length; axis += 1) sum += ((a[axis] ?? 0) - (b[axis] ?? 0)) ** 2;
  return Math.sqrt(sum);
}

function bySize(labels: number[], clusters: number): number[] {
  const sizes = Array.from({ length: clusters }, () => 0);
  for (const label of labels) if (label !== NOISE) sizes[label] = (sizes[label] ?? 0) + 1;
  const rank = new Map(
    sizes
      .map((size, label) => ({ size, label }))
      .sort((a, b) => b.size - a.size || a.label - b.label)
      .map(({ label }, place) => [label, place]),
  );
  return labels.map((label) => rank.get(label) ?? NOISE);
}
