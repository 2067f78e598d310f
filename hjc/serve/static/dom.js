// Elements without innerHTML: a text is never taken for mark-up.

export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined && child !== false));
  return made;
}

export const show = (place, ...children) => place.replaceChildren(...children.flat());

// For readers of screens: said, not shown.
export function say(sentence) {
  document.getElementById("live").textContent = sentence;
}
