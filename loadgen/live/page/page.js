// The separate page: the tab's content without Locust's UI around it.
import { mount } from "./live.js";

mount(document.getElementById("fan-out"));
