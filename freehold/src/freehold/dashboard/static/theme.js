// Before anything is painted: light or dark, as chosen here, or as the system has it.
(() => {
  const chosen = localStorage.getItem("freehold-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
})();
