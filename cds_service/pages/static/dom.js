// How is an element made? Text, from wherever it comes, is only ever text.

export const $ = (id) => document.getElementById(id);

// el("p", {class: "note"}, "text", child): attributes by name, `on` for listeners.
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (value === true) {
      node.setAttribute(key, "");
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(key, String(value));
    }
  }
  node.append(...children.filter((child) => ![null, undefined, false, ""].includes(child)));
  return node;
}

export function fill(select, options, first) {
  const nodes = first === undefined ? [] : [el("option", { value: "" }, first)];
  select.replaceChildren(...nodes, ...options.map((o) => el("option", { value: o.id }, o.name)));
}

export const asJson = (value) => JSON.stringify(value, null, 2);

const SVG = "http://www.w3.org/2000/svg";

// A shape for each indicator, so that none depends on its colour.
const SHAPES = {
  info: ["M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1z", "M8 7v5M8 4v1"],
  warning: ["M8 1.500 15 14.500H1z", "M8 6v4M8 11.500v1"],
  critical: ["M5 1h6l4 4v6l-4 4H5l-4-4V5z", "M8 4v5M8 11v1.200"],
};

export function shape(indicator) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("fill", "none");
  svg.setAttribute("stroke", "currentColor");
  svg.setAttribute("stroke-width", "1.6");
  for (const d of SHAPES[indicator] ?? SHAPES.info) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}
