// Before the first paint, so that nobody who chose dark sees a white flash.
const chosen = (() => {
  try {
    return localStorage.getItem("chainette-theme");
  } catch {
    return null;
  }
})();
if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
