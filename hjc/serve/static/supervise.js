// For supervisors: progress, coders, agreement by level, disputed ads to settle, and a sample to deal.

import * as api from "./api.js";
import { el, say, show } from "./dom.js";
import { language, pace, percent, t } from "./i18n.js";

const number = x => (x === null || x === undefined ? "–" : new Intl.NumberFormat(language, { maximumFractionDigits: 2 }).format(x));
const share = one => (one.value === null ? "–" : `${percent(one.value)} (${percent(one.low)}–${percent(one.high)})`);
const table = (head, rows) => el("table", {}, el("thead", {}, el("tr", {}, head.map(one => el("th", { scope: "col" }, one)))),
  el("tbody", {}, rows.map(row => el("tr", {}, row.map(cell => el("td", {}, String(cell)))))));

export async function superviseView(place, leave) {
  const problem = el("p", { class: "error", role: "alert" });
  const [found, open, listed] = await Promise.all([api.supervise({}), api.disputes({}), api.batches()]);
  const settle = async (ad, codes) => {
    try {
      await api.adjudicate({ key: api.newKey(), ad, codes });
      say(t("settled"));
      await superviseView(place, leave);
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const dispute = one => {
    const other = el("input", { type: "text", id: `other${one.ad}`, required: true, maxlength: 200, autocomplete: "off" });
    const submit = event => { event.preventDefault(); settle(one.ad, other.value.split(/\s+/).filter(Boolean)); };
    return el("li", {}, el("p", { class: "text" }, one.text), one.decisions.map(said =>
      el("button", { type: "button", onclick: () => settle(one.ad, said.codes) },
        `${said.codes.join(" ") || t("said_not_a_job")} (${said.coder})`)),
      el("form", { onsubmit: submit }, el("label", { for: other.id }, t("other_codes")), other, el("button", { type: "submit" }, t("settle"))));
  };

  const dealing = () => {
    const batch = el("select", { id: "deal_batch" }, listed.batches.filter(one => one.tasks).map(one => el("option", { value: one.id }, one.name)));
    const coders = el("input", { type: "text", id: "deal_coders", required: true, autocomplete: "off" });
    const each = el("input", { type: "number", id: "deal_each", min: 1, placeholder: "–" });
    const common = el("input", { type: "number", id: "deal_common", min: 0, value: 0 });
    const said = el("p", { role: "status" });
    const submit = async event => {
      event.preventDefault();
      try {
        const wanted = { coders: coders.value.split(",").map(one => one.trim()).filter(Boolean), common: Number(common.value) };
        const dealt = (await api.deal(batch.value, { ...wanted, each: each.value === "" ? null : Number(each.value) })).tasks;
        said.textContent = Object.entries(dealt).map(([name, n]) => `${name}: ${n}`).join(", ");
      } catch (error) {
        said.textContent = error.message;
      }
    };
    return el("form", { onsubmit: submit }, el("label", { for: "deal_batch" }, t("batch")), batch,
      el("label", { for: "deal_coders" }, t("deal_coders")), coders, el("label", { for: "deal_each" }, t("deal_each")), each,
      el("label", { for: "deal_common" }, t("deal_common")), common, el("button", { type: "submit" }, t("deal")), said);
  };
  show(place,
    el("header", {}, el("button", { type: "button", onclick: leave }, t("back")), el("span", {}, [t("progress", found.progress), ...pace(found.progress)].join(" · "))),
    el("main", { class: "narrow" }, el("h1", {}, t("supervise")), problem,
      el("h2", {}, t("coders")),
      table([t("coder"), t("done"), t("skips"), t("seconds")], found.coders.map(one => [one.coder, one.done, one.skipped, number(one.median_seconds)])),
      el("h2", {}, t("agreement")),
      found.agreement.length
        ? table([t("level_head"), t("ads"), t("pairs_agree"), "α"], found.agreement.map(one => [one.level, one.figures.alpha.n, share(one.figures.pairwise), number(one.figures.alpha.value)]))
        : el("p", {}, t("no_agreement")),
      el("h2", {}, t("disputes", { n: found.disputed })), el("ul", { class: "batches" }, open.disputes.map(dispute)),
      el("h2", {}, t("deal_title")), dealing(),
      el("h2", {}, t("export")), el("ul", {}, ["final", "ratings", "training", "audit"].map(name =>
        el("li", {}, el("a", { href: api.exported({ table: name }), download: true }, `${name}.csv`))))));
}
