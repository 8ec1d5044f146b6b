// Before the first paint: the theme of the address, of the last visit, or of the system. A classic script, so that it blocks.
(() => {
  const themes = ["dark", "light", "nord", "neon", "contrast"];
  let kept = null;
  try {
    kept = localStorage.getItem("eqmesh.theme");
  } catch {
    // Storage may be refused; then nothing is remembered.
  }
  const asked = new URLSearchParams(location.search).get("theme");
  const system = matchMedia("(prefers-contrast: more)").matches
    ? "contrast"
    : matchMedia("(prefers-color-scheme: light)").matches
      ? "light"
      : "dark";
  document.documentElement.dataset.theme = [asked, kept].find((name) => themes.includes(name)) ?? system;
})();
