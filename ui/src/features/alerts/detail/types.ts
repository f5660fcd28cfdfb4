import type { AlertDetail } from "../model";

/** Changes the alert of the page: what is foreseen is shown at once and taken back when the server refuses. */
export type Change = (
  foreseen: Partial<AlertDetail>,
  request: () => Promise<AlertDetail>,
  done?: string,
) => Promise<boolean>;
