// For supervisors: progress, coders, agreement by level, and disputed ads to settle.

import * as api from "./api.js";
import { el, say, show } from "./dom.js";
import { language, percent, t } from "./i18n.js";

const number = x => (x === null || x === undefined ? "–" : new Intl.NumberFormat(language, { maximumFractionDigits: 2 }).format(x));
const share = one => (one.value === null ? "–" : `${percent(one.value)} (${percent(one.low)}–${percent(one.high)})`);
const table = (head, rows) => el("table", {}, el("thead", {}, el("tr", {}, head.map(one => el("th", { scope: "col" }, one)))),
  el("tbody", {}, rows.map(row => el("tr", {}, row.map(cell => el("td", {}, String(cell)))))));

export async function superviseView(place, leave) {
  const problem = el("p", { class: "error", role: "alert" });
  const [found, open] = await Promise.all([api.supervise({}), api.disputes({})]);
  const settle = async (ad, codes) => {
    try {
      await api.adjudicate({ key: api.newKey(), ad, codes });
      say(t("settled"));
      await superviseView(place, leave);
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const dispute = one => el("li", {}, el("p", { class: "text" }, one.text), one.decisions.map(said =>
    el("button", { type: "button", onclick: () => settle(one.ad, said.codes) },
      `${said.codes.join(" ") || t("said_not_a_job")} (${said.coder})`)));
  show(place,
    el("header", {}, el("button", { type: "button", onclick: leave }, t("back")), el("span", {}, t("progress", found.progress))),
    el("main", { class: "narrow" }, el("h1", {}, t("supervise")), problem,
      el("h2", {}, t("coders")),
      table([t("coder"), t("done"), t("skips"), t("seconds")], found.coders.map(one => [one.coder, one.done, one.skipped, number(one.median_seconds)])),
      el("h2", {}, t("agreement")),
      found.agreement.length
        ? table([t("level_head"), t("ads"), t("pairs_agree"), "α"], found.agreement.map(one => [one.level, one.figures.alpha.n, share(one.figures.pairwise), number(one.figures.alpha.value)]))
        : el("p", {}, t("no_agreement")),
      el("h2", {}, t("disputes", { n: found.disputed })), el("ul", { class: "batches" }, open.disputes.map(dispute)),
      el("h2", {}, t("export")), el("ul", {}, ["final", "ratings", "training", "audit"].map(name =>
        el("li", {}, el("a", { href: api.exported({ table: name }), download: true }, `${name}.csv`))))));
}
