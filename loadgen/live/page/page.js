// The page of its own: the same content, without Locust's UI around it.
import { mount } from "./live.js";

mount(document.getElementById("fan-out"));
