// The tree to browse: at first what the model thinks of, open where it is unsure; every other code a click further down.

import * as api from "./api.js";
import { el, show } from "./dom.js";
import { language, percent, t } from "./i18n.js";

export function treeView(task, choose, fail) {
  const button = one => el("button", { type: "button", class: "node", "data-code": one.code, onclick: () => choose(one.code, one.title) },
    one.probability === undefined ? `${one.code} ${one.title}` : `${one.code} ${one.title} ${percent(one.probability)}`);

  // Children that are not listed yet, fetched when they are wanted.
  const others = (parent, known, label) => {
    const list = el("ul");
    const fill = async () => {
      const found = (await api.children({ model: task.model, parent, language })).nodes;
      show(list, found.filter(one => !known.has(one.code)).map(one =>
        el("li", {}, button(one), one.children ? others(one.code, new Set(), t("below", { n: one.children })) : null)));
    };
    const details = el("details", { class: "others" }, el("summary", {}, label), list);
    details.addEventListener("toggle", () => { if (details.open && !list.children.length) fill().catch(fail); });
    return details;
  };

  const listed = (nodes, parent, more) => {
    const known = new Set(nodes.map(one => one.code));
    return [...nodes.map(one => el("li", {}, button(one), below(one))), more ? el("li", {}, others(parent, known, t("others", { n: more }))) : null];
  };
  const below = one =>
    one.children.length
      ? el("details", { open: one.open }, el("summary", {}, t("below", { n: one.children.length + one.more })), el("ul", {}, listed(one.children, one.code, one.more)))
      : one.more ? others(one.code, new Set(), t("below", { n: one.more })) : null;

  const top = task.suggestions ? task.suggestions.tree : [];
  return el("details", { class: "tree" }, el("summary", {}, t("tree")), el("ul", {}, listed(top, undefined, 0),
    el("li", {}, others(undefined, new Set(top.map(one => one.code)), t("all_codes")))));
}
