// Sets the theme before the first paint; kept apart because inline scripts are not allowed.
(() => {
  const chosen = localStorage.getItem("cairn.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
