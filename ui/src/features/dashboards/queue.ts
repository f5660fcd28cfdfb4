/** Questions of panels, a few at a time: a dashboard of a hundred panels must not take all turns of the server. */
import { type Answer, ask, type QueryRequest } from "@/api/query";

export const QUERIES_MAX = 6;

/** Turns that are taken in the order they are asked for. */
export class Turns {
  private free: number;
  private readonly waiting: { go: () => void; signal?: AbortSignal }[] = [];

  constructor(turns: number) {
    this.free = turns;
  }

  /** Does the work when its turn comes; rejects with the reason of `signal` when that comes first. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.take(signal);
    try {
      return await work();
    } finally {
      this.give();
    }
  }

  private take(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.free > 0) {
      this.free -= 1;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const entry = { go: resolve, signal };
      this.waiting.push(entry);
      signal?.addEventListener("abort", () => {
        const at = this.waiting.indexOf(entry);
        if (at < 0) return;
        this.waiting.splice(at, 1);
        reject(signal.reason);
      });
    });
  }

  private give(): void {
    const next = this.waiting.shift();
    if (next) next.go();
    else this.free += 1;
  }
}

const turns = new Turns(QUERIES_MAX);

/** Asks when it is this question's turn. */
export function askInTurn(question: QueryRequest, signal?: AbortSignal): Promise<Answer> {
  return turns.run(() => ask(question, signal), signal);
}
