// Runs before the app is loaded, so that the page does not flash in the other theme.
const kept = localStorage.getItem("heimdall.theme");
const dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.theme = dark ? "dark" : "light";
