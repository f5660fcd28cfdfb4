/** The nonce that lets a library write a style sheet under the page's policy; it is new with every page. */
export function cspNonce(): string {
  return document.querySelector<HTMLMetaElement>("meta[name=csp-nonce]")?.content ?? "";
}
