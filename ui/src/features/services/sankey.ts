/** Request volume from service to service as a flow. A flow has no circles: the weakest edge of each is left out, and named. */

export interface Flow {
  source: string;
  target: string;
  requests: number;
}

export interface Flows {
  nodes: string[];
  links: Flow[];
  /** Edges that would close a circle, heaviest first. */
  left_out: Flow[];
}

/** The heaviest edges first; one that closes a circle with those taken before it is left out. */
export function breakCycles(edges: readonly Flow[]): Flows {
  const merged = new Map<string, Flow>();
  const left_out: Flow[] = [];
  for (const { source, target, requests } of edges) {
    if (!(requests > 0)) continue;
    const key = JSON.stringify([source, target]);
    const found = merged.get(key);
    if (found) found.requests += requests;
    else merged.set(key, { source, target, requests });
  }
  const ordered = [...merged.values()].sort(
    (a, b) => b.requests - a.requests || a.source.localeCompare(b.source) || a.target.localeCompare(b.target),
  );
  const next = new Map<string, string[]>();
  const links: Flow[] = [];
  for (const edge of ordered) {
    if (edge.source === edge.target || reaches(next, edge.target, edge.source)) {
      left_out.push(edge);
      continue;
    }
    next.set(edge.source, [...(next.get(edge.source) ?? []), edge.target]);
    links.push(edge);
  }
  return { nodes: [...new Set(links.flatMap((edge) => [edge.source, edge.target]))].sort(), links, left_out };
}

function reaches(next: Map<string, string[]>, from: string, to: string): boolean {
  const seen = new Set([from]);
  const waiting = [from];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (node === to) return true;
    for (const following of next.get(node) ?? []) {
      if (seen.has(following)) continue;
      seen.add(following);
      waiting.push(following);
    }
  }
  return false;
}
