// Draws into the Fan-out tab of Locust's UI, which creates the tab but leaves its panel empty.
import { mount } from "./live.js";

const KEY = "fan-out";
const root = document.getElementById("root");
let unmount = null;
let element = null;

function container() {
  const tabs = root.querySelector("main [role=tablist]");
  return tabs ? tabs.closest(".MuiContainer-root") || root.querySelector("main") : null;
}

function update() {
  const wanted = new URLSearchParams(window.location.search).get("tab") === KEY ? container() : null;
  if (element && element.parentNode === wanted && wanted !== null) return;
  if (element) {
    unmount();
    element.remove();
    element = null;
  }
  if (wanted) {
    element = document.createElement("div");
    element.id = KEY;
    wanted.append(element);
    unmount = mount(element);
  }
}

// React announces no changes, so observe the DOM; most changes are inside the panel and return at the first check.
new MutationObserver(update).observe(root, { subtree: true, childList: true, attributeFilter: ["aria-selected"] });
window.addEventListener("popstate", update);
update();
