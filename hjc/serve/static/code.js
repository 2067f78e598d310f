// Coding one ad after the other: suggestions of a level, chosen with the keys 1 to 9; arrows change the level.

import * as api from "./api.js";
import { el, say, show } from "./dom.js";
import { language, percent, t } from "./i18n.js";

const AHEAD = 3;

export async function codeView(place, batch, leave) {
  let waiting = []; // tasks that were fetched ahead
  let task = null;
  let level = 1;
  let since = 0;
  let key = "";
  let busy = false;
  const left = new Set(); // tasks that are behind us: an answer that was asked for earlier may still have them
  let progress = await api.progress({ batch: batch.id });
  const comment = el("input", { type: "text", id: "comment", maxlength: 5000, autocomplete: "off" });

  const fetchAhead = async () => {
    const found = (await api.next({ batch: batch.id, n: AHEAD, language })).tasks;
    const held = task ? task.task : null;
    waiting = found.filter(one => one.task !== held && !left.has(one.task));
  };

  const open = one => {
    task = one;
    since = performance.now();
    key = api.newKey();
    comment.value = "";
    level = one && one.suggestions ? one.suggestions.level : 1;
    draw();
  };

  const advance = async () => {
    if (!waiting.length) await fetchAhead();
    open(waiting.shift() ?? null);
    if (waiting.length < AHEAD - 1 && task) fetchAhead().catch(() => {});
  };

  const decide = async (kind, codes, title) => {
    if (!task || busy) return;
    busy = true;
    try {
      const seconds = (performance.now() - since) / 1000;
      const answer = await api.decide({
        key, task: task.task, kind, codes, comment: comment.value, seconds, shown: task.shown, batch: batch.id,
      });
      progress = answer.progress;
      if (kind !== "skip") left.add(task.task);
      say(kind === "skip" ? t("skipped") : kind === "not_a_job" ? t("said_not_a_job") : t("saved", { code: codes[0], title }));
      await advance();
    } catch (error) {
      if (error.status === 409) { // somebody else has it, or it is decided
        left.add(task.task);
        await advance();
      }
      fail(error);
    } finally {
      busy = false;
    }
  };

  const undo = async () => {
    if (busy) return;
    busy = true;
    try {
      const back = await api.undo({ key: api.newKey(), language });
      left.delete(back.task);
      waiting = waiting.filter(one => one.task !== back.task);
      if (task && task.task !== back.task) waiting.unshift(task);
      say(t("undone"));
      progress = await api.progress({ batch: batch.id });
      open(back);
    } catch (error) {
      fail(error);
    } finally {
      busy = false;
    }
  };

  const problem = el("p", { class: "error", role: "alert" });
  const fail = error => { problem.textContent = error.message; };
  const choices = () => (task && task.suggestions ? task.suggestions.levels.find(one => one.level === level).choices : []);

  const onkey = event => {
    if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      s: () => decide("skip", []), n: () => decide("not_a_job", []), u: undo,
      ArrowLeft: () => { level = Math.max(1, level - 1); draw(); },
      ArrowRight: () => { level = Math.min(task.suggestions.levels.length, level + 1); draw(); },
    };
    if (/^[1-9]$/.test(event.key)) {
      const one = choices()[Number(event.key) - 1];
      if (one) { event.preventDefault(); decide("code", [one.code], one.title); }
    } else if (actions[event.key] && task) {
      event.preventDefault();
      actions[event.key]();
    }
  };
  document.addEventListener("keydown", onkey);

  const choice = (one, i) =>
    el("li", {},
      el("button", { type: "button", class: "choice", "data-code": one.code, onclick: () => decide("code", [one.code], one.title) },
        el("kbd", {}, String(i + 1)), el("span", { class: "code" }, one.code), el("span", { class: "name" }, one.title),
        el("meter", { min: 0, max: 1, value: one.probability, "aria-hidden": "true" }),
        el("span", { class: "share" }, percent(one.probability))));

  function draw() {
    problem.textContent = "";
    const top = el("header", {},
      el("button", { type: "button", onclick: () => { document.removeEventListener("keydown", onkey); leave(); } }, t("back")),
      el("span", { id: "progress" }, t("progress", progress)));
    if (!task) {
      show(place, top, el("main", {}, el("p", { id: "empty" }, t("queue_empty")), problem));
      return;
    }
    const levels = task.suggestions
      ? el("div", { role: "group", "aria-label": t("suggestions"), class: "levels" }, task.suggestions.levels.map(one =>
          el("button", { type: "button", "aria-pressed": String(one.level === level), onclick: () => { level = one.level; draw(); } },
            t("level", { level: one.level }))))
      : el("p", {}, t("no_suggestions"));
    show(place, top, el("main", { class: "coding" },
      el("section", { class: "ad", "aria-label": t("ad", task) }, el("h2", {}, t("ad", task)), el("p", { class: "text" }, task.text)),
      el("section", { class: "choices", "aria-label": t("suggestions") }, levels,
        el("ol", {}, choices().map(choice)),
        el("label", { for: "comment" }, t("comment")), comment,
        el("div", { class: "actions" },
          el("button", { type: "button", onclick: () => decide("skip", []) }, t("skip")),
          el("button", { type: "button", onclick: () => decide("not_a_job", []) }, t("not_a_job")),
          el("button", { type: "button", onclick: undo }, t("undo"))),
        problem)));
  }

  await advance();
}
