// Draws into the Fan-out tab of Locust's UI, which creates the tab but leaves its panel empty; and describes the run
// above Locust's start form, whose own fields (users, ramp, host) say nothing of a scenario.
import { description, mount } from "./live.js";

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

const base = new URL("./", import.meta.url);
const coming = document.createElement("section");
coming.id = "fan-out-coming";
let asked = false;

function startForm() {
  // After a run the form is in a dialog, which is outside of the root.
  const field = document.querySelector("form [name=userCount]");
  const form = field && field.closest("form");
  // The form that edits a run has no host.
  return form && form.querySelector("[name=host]") ? form : null;
}

async function ask() {
  const url = new URL("data", base);
  url.search = new URLSearchParams({ coming: 1 });
  try {
    const data = await (await fetch(url)).json();
    if (data.coming) coming.replaceChildren(description(data.coming));
    describe();
  } catch {
    // Locust's form stays as it is.
  }
  asked = coming.hasChildNodes();
}

function describe() {
  const form = startForm();
  if (!form) {
    coming.remove();
    return;
  }
  if (!asked) {
    asked = true;
    ask();
  }
  if (coming.hasChildNodes() && form.previousElementSibling !== coming) form.before(coming);
}

function look() {
  select();
  update();
  describe();
}

// Show the Fan-out tab once the first run begins: Locust would show its statistics of requests.
let starting = false;
document.addEventListener("submit", (event) => {
  starting = event.target === startForm() && !container();
}, true);

function select() {
  const tab = [...root.querySelectorAll("main [role=tab]")].find((each) => each.textContent.toLowerCase() === KEY);
  if (!starting || !tab) return;
  starting = false;
  tab.click();
}

// React announces no changes, so observe the DOM; most changes are inside the panel and return at the first check.
new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-selected"] });
window.addEventListener("popstate", look);
look();
