// The list of runs: times in the reader's zone, and a button that compares exactly two.

import { localTimes } from "./numbers.js";

localTimes(document);
const form = document.getElementById("compare");
if (form) {
  const button = form.querySelector("button");
  const boxes = [...document.querySelectorAll("input[form=compare]")];
  const look = () => (button.disabled = boxes.filter((box) => box.checked).length !== 2);
  boxes.forEach((box) => box.addEventListener("change", look));
  look();
}
