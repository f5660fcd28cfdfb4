import { expect, it } from "vitest";
import { Turns } from "./queue";

/** Work that ends when it is told to. */
function work() {
  const started: string[] = [];
  const ends = new Map<string, () => void>();
  const start = (name: string) => (): Promise<string> => {
    started.push(name);
    return new Promise((resolve) => ends.set(name, () => resolve(name)));
  };
  return { started, start, end: (name: string) => ends.get(name)?.() };
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

it("works on a few at a time, in order", async () => {
  const turns = new Turns(2);
  const { started, start, end } = work();
  const all = ["a", "b", "c", "d"].map((name) => turns.run(start(name)));
  await settled();
  expect(started).toEqual(["a", "b"]);
  end("b");
  await settled();
  expect(started).toEqual(["a", "b", "c"]);
  for (const name of ["a", "c"]) end(name);
  await settled();
  end("d");
  expect(await Promise.all(all)).toEqual(["a", "b", "c", "d"]);
});

it("gives the turn back when work fails, and forgets who no longer waits", async () => {
  const turns = new Turns(1);
  const { started, start, end } = work();
  const first = turns.run(start("a"));
  const abort = new AbortController();
  const second = turns.run(start("b"), abort.signal);
  const third = turns.run(() => Promise.reject(new Error("broken")));
  const fourth = turns.run(start("d"));
  abort.abort(new Error("gone"));
  await expect(second).rejects.toThrow("gone");
  end("a");
  await first;
  await expect(third).rejects.toThrow("broken");
  await settled();
  expect(started).toEqual(["a", "d"]);
  end("d");
  expect(await fourth).toBe("d");
  await expect(turns.run(start("e"), AbortSignal.abort(new Error("late")))).rejects.toThrow("late");
});
