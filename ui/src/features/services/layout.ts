/** Places of services on the map: forces push all apart and pull together those that call each other.
 *
 * The same services always get the same places, and known ones keep theirs when others come: a map one has learnt stays. */

export interface Place {
  x: number;
  y: number;
}

/** Width to height of the map. */
const ASPECT = 1.7;
const ROUNDS = 300;
/** Rounds when most places are known: the newcomers find theirs among them. */
const ROUNDS_KNOWN = 80;

/** Places in a box of `ASPECT` by 1 around 0, by name. */
export function placesOf(
  names: readonly string[],
  edges: readonly { source: string; target: string }[],
  known: ReadonlyMap<string, Place> = new Map(),
): Map<string, Place> {
  const sorted = [...names].sort();
  const at = sorted.map((name) => ({ ...(known.get(name) ?? seeded(name)) }));
  const fixed = sorted.map((name) => known.has(name));
  if (fixed.every(Boolean)) return new Map(sorted.map((name, index) => [name, at[index] ?? { x: 0, y: 0 }]));
  const index = new Map(sorted.map((name, place) => [name, place]));
  // In one order, because sums of fractions depend on it.
  const pulls = edges
    .flatMap(({ source, target }): [number, number][] => {
      const [a, b] = [index.get(source), index.get(target)];
      return a === undefined || b === undefined || a === b ? [] : [[a, b]];
    })
    .sort((one, other) => one[0] - other[0] || one[1] - other[1]);
  const ideal = Math.sqrt(ASPECT / Math.max(1, sorted.length));
  const rounds = fixed.some(Boolean) ? ROUNDS_KNOWN : ROUNDS;
  for (let round = 0; round < rounds; round += 1) {
    const step = 0.12 * (1 - round / rounds) + 0.002;
    const force = sorted.map(() => ({ x: 0, y: 0 }));
    repel(at, force, ideal);
    for (const [a, b] of pulls) attract(at, force, a, b, ideal);
    at.forEach((place, node) => {
      const push = force[node];
      if (!push || fixed[node]) return;
      // A weak pull to the middle keeps parts that nothing connects in sight.
      push.x -= place.x * 0.6;
      push.y -= place.y * 1.2;
      const size = Math.hypot(push.x, push.y) || 1;
      const move = Math.min(step, size);
      place.x = clamp(place.x + (push.x / size) * move, ASPECT / 2);
      place.y = clamp(place.y + (push.y / size) * move, 0.5);
    });
  }
  return new Map(sorted.map((name, node) => [name, at[node] ?? { x: 0, y: 0 }]));
}

function repel(at: Place[], force: Place[], ideal: number): void {
  for (let a = 0; a < at.length; a += 1)
    for (let b = a + 1; b < at.length; b += 1) {
      const [one, other, fa, fb] = [at[a], at[b], force[a], force[b]];
      if (!one || !other || !fa || !fb) continue;
      const dx = one.x - other.x || 1e-4 * (a - b);
      const dy = one.y - other.y || 1e-4;
      const far = Math.max(0.01, Math.hypot(dx, dy));
      const push = (ideal * ideal) / (far * far);
      fa.x += dx * push;
      fa.y += dy * push;
      fb.x -= dx * push;
      fb.y -= dy * push;
    }
}

function attract(at: Place[], force: Place[], a: number, b: number, ideal: number): void {
  const [one, other, fa, fb] = [at[a], at[b], force[a], force[b]];
  if (!one || !other || !fa || !fb) return;
  const dx = one.x - other.x;
  const dy = one.y - other.y;
  const pull = (Math.hypot(dx, dy) / ideal) * 0.35;
  fa.x -= dx * pull;
  fa.y -= dy * pull;
  fb.x += dx * pull;
  fb.y += dy * pull;
}

function clamp(value: number, bound: number): number {
  return Math.max(-bound, Math.min(bound, value));
}

/** A place that only the name decides. */
function seeded(name: string): Place {
  let hash = 2_166_136_261;
  for (let index = 0; index < name.length; index += 1) hash = Math.imul(hash ^ name.charCodeAt(index), 16_777_619);
  const unit = (bits: number): number => (bits >>> 0) / 4_294_967_296 - 0.5;
  return { x: unit(hash) * ASPECT, y: unit(Math.imul(hash, 2_654_435_761) ^ (hash >>> 13)) };
}
