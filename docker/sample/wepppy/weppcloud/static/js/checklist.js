// The checklist of a run, ticked by the preflight service.

import { keepConnected } from "./sockets.js";

/** Keep the items of `list` (each with `data-key`) as the service says; `status` shows the connection. */
export function followChecklist(preflightBase, runid, list, status) {
  keepConnected(`${preflightBase}/${encodeURIComponent(runid)}`, {
    frame: (frame) => frame.type === "preflight" && show(list, frame.checklist ?? {}),
    state: (state) => (status.textContent = state),
  });
}

function show(list, checklist) {
  for (const item of list.querySelectorAll("[data-key]")) {
    const done = checklist[item.dataset.key] === true;
    item.classList.toggle("done", done);
    item.querySelector(".mark").textContent = done ? "✓" : "○";
    item.querySelector(".said").textContent = done ? "done" : "not done";
  }
}
