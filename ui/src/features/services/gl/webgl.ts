let works: boolean | null = null;

/** Whether this browser draws in three dimensions. */
export function webglWorks(): boolean {
  if (works === null) {
    try {
      const canvas = document.createElement("canvas");
      const context = canvas.getContext("webgl");
      works = context !== null;
      context?.getExtension("WEBGL_lose_context")?.loseContext();
    } catch {
      works = false;
    }
  }
  return works;
}
