document.documentElement.dataset.theme = window.localStorage.getItem("theme") || "default";
