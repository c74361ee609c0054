// Elements without markup: text that comes from elsewhere is only ever textContent.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child != null && child !== ""));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

// Makes these the children, in this order; those that are there already are not touched.
export function arrange(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let place = parent.firstChild;
  for (const element of elements) {
    if (element === place) place = place.nextSibling;
    else parent.insertBefore(element, place);
  }
}

// Writing only what differs keeps a screen reader quiet and the layout untouched.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function mark(element, kind) {
  if (element.dataset.kind !== kind) element.dataset.kind = kind;
}
