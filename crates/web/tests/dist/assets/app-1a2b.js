export const name = "Heimdall";
