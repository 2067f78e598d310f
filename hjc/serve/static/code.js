// Coding one ad after the other: suggestions of a level, chosen with the keys 1 to 9; arrows change the level.
// The next ad is shown while the decision on the last one is saved. What could not be saved is sent again, with the same
// key, until it is: nobody has to look whether it was.

import * as api from "./api.js";
import { el, say, show } from "./dom.js";
import { language, pace, percent, t } from "./i18n.js";
import { treeView } from "./tree.js";

const AHEAD = 3;
const SEARCH_DELAY = 120; // milliseconds after the last letter
const AGAIN = 1000; // milliseconds until a decision that did not get through is sent again
const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));

export async function codeView(place, batch, leave) {
  let waiting = []; // tasks that were fetched ahead
  let task = null;
  let level = 1;
  let since = 0;
  let key = "";
  let busy = false;
  let unsaved = 0;
  let saving = Promise.resolve(); // decisions are saved one after the other
  const left = new Set(); // tasks that are behind us: an answer that was asked for earlier may still have them
  let several = null; // codes chosen so far, while an ad has more than one
  let hits = [];
  let why = null;
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
    several = null;
    hits = [];
    why = null;
    search.value = "";
    level = one && one.suggestions ? one.suggestions.level : 1;
    draw();
  };

  const advance = async () => {
    if (!waiting.length) await fetchAhead();
    open(waiting.shift() ?? null);
  };

  // A code that was chosen: taken at once, or put beside the others where the ad has several.
  const choose = (code, title) => {
    if (several === null) return decide("code", [code], title);
    const at = several.findIndex(one => one.code === code);
    if (at >= 0) several.splice(at, 1);
    else several.push({ code, title });
    draw();
  };

  const saveSeveral = () => {
    if (several && several.length > 1) decide("several", several.map(one => one.code), several.map(one => one.title).join(" + "));
  };

  const explain = async () => {
    if (!task || why) return;
    const asked = task;
    try {
      const found = await api.explain({ model: task.model, text: task.text, neighbours: 3, title_language: null });
      if (task === asked) { why = found; draw(); }
    } catch (error) {
      fail(error);
    }
  };

  let timer = 0;
  const find = async () => {
    const asked = search.value;
    hits = asked.trim() ? (await api.search({ q: asked, model: task.model, language, n: 9 })).hits : [];
    if (asked === search.value) drawHits();
  };
  const search = el("input", {
    type: "search", id: "search", maxlength: 200, autocomplete: "off",
    oninput: () => { clearTimeout(timer); timer = setTimeout(() => find().catch(fail), SEARCH_DELAY); },
    onkeydown: event => {
      if (event.key === "Escape") { search.value = ""; hits = []; drawHits(); search.blur(); }
      if (event.key === "ArrowDown") { event.preventDefault(); found.querySelector("button")?.focus(); }
      if (event.key === "Enter" && hits.length) { event.preventDefault(); search.blur(); choose(hits[0].code, hits[0].title); }
    },
  });
  const found = el("ol", {
    id: "hits", "aria-live": "polite",
    onkeydown: event => { // up and down the hits, back to the search above the first
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const buttons = [...found.querySelectorAll("button")];
      const at = buttons.indexOf(document.activeElement) + step;
      (at < 0 ? search : buttons[Math.min(at, buttons.length - 1)]).focus();
    },
  });
  const drawHits = () => show(found, hits.map(hit => el("li", {},
    el("button", { type: "button", class: "hit", "data-code": hit.code, onclick: () => choose(hit.code, hit.title) },
      el("span", { class: "code" }, hit.code), " ", el("span", { class: "name" }, hit.title), " ",
      el("span", { class: "path" }, hit.path.join(" › ")), hit.where === "title" ? null : el("span", { class: "path" }, hit.matched)))));

  const decide = async (kind, codes, title) => {
    if (!task || busy) return;
    const was = task;
    const sent = {
      key, task: was.task, kind, codes, comment: comment.value, seconds: (performance.now() - since) / 1000, shown: was.shown, batch: batch.id,
    };
    left.add(was.task);
    unsaved += 1;
    const saved = saving = saving.then(() => save(sent, was, title));
    if (waiting.length) return open(waiting.shift());
    busy = true;
    try {
      await saved;
      await advance();
    } catch (error) {
      fail(error);
    } finally {
      busy = false;
    }
  };

  const save = async (sent, was, title) => {
    for (let told = false; ;) {
      try {
        const answer = await api.decide(sent);
        progress = answer.progress;
        if (told) fail(null);
        say(sent.kind === "skip" ? t("skipped") : sent.kind === "not_a_job" ? t("said_not_a_job") : t("saved", { code: sent.codes.join(" "), title }));
        if (sent.kind === "skip") left.delete(was.task);
        break;
      } catch (error) {
        if (error.status === 409) { // somebody else has it, or it is decided
          fail(error);
          break;
        }
        if (error.status && error.status < 500) { // refused: it comes again
          left.delete(was.task);
          waiting.unshift(was);
          fail(error);
          break;
        }
        fail(new Error(t("not_saved")));
        told = true;
        await pause(AGAIN);
      }
    }
    unsaved -= 1;
    if (!busy) drawProgress(); // else with the next ad
    if (!unsaved && waiting.length < AHEAD - 1 && task) fetchAhead().catch(() => {});
  };

  const undo = async () => {
    if (busy) return;
    busy = true;
    try {
      await saving;
      const back = await api.undo({ key: api.newKey(), language });
      left.delete(back.task);
      waiting = waiting.filter(one => one.task !== back.task);
      if (task && task.task !== back.task) waiting.unshift(task);
      say(t("undone"));
      open(back);
      progress = await api.progress({ batch: batch.id });
      drawProgress();
    } catch (error) {
      fail(error);
    } finally {
      busy = false;
    }
  };

  const problem = el("p", { class: "error", role: "alert" });
  const fail = error => { problem.textContent = error ? error.message : ""; };
  const shownProgress = el("span", { id: "progress" });
  const drawProgress = () => { shownProgress.textContent = [t("progress", progress), ...pace(progress)].join(" · "); };
  const choices = () => (task && task.suggestions ? task.suggestions.levels.find(one => one.level === level).choices : []);

  const onkey = event => {
    if (event.key === "Enter" && event.target.matches("button")) return;
    if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      s: () => decide("skip", []), n: () => decide("not_a_job", []), u: undo, w: explain, "/": () => search.focus(),
      c: () => { several = several ? null : []; draw(); }, Enter: saveSeveral,
      ArrowLeft: () => { level = Math.max(1, level - 1); draw(); },
      ArrowRight: () => { level = Math.min(task?.suggestions?.levels.length ?? 1, level + 1); draw(); },
    };
    if (/^[1-9]$/.test(event.key)) {
      const one = choices()[Number(event.key) - 1];
      if (one) { event.preventDefault(); choose(one.code, one.title); }
    } else if (actions[event.key] && (task || event.key === "u")) {
      event.preventDefault();
      actions[event.key]();
    }
  };
  document.addEventListener("keydown", onkey);
  const onunload = event => { if (unsaved) event.preventDefault(); };
  window.addEventListener("beforeunload", onunload);
  const stop = async () => {
    await saving;
    document.removeEventListener("keydown", onkey);
    window.removeEventListener("beforeunload", onunload);
    leave();
  };

  const choice = (one, i) =>
    el("li", {},
      el("button", { type: "button", class: "choice", "data-code": one.code, "aria-pressed": several ? String(several.some(x => x.code === one.code)) : null, onclick: () => choose(one.code, one.title) },
        el("kbd", {}, String(i + 1)), el("span", { class: "code" }, one.code), el("span", { class: "name" }, one.title),
        el("meter", { min: 0, max: 1, value: one.probability, "aria-hidden": "true" }),
        el("span", { class: "share" }, percent(one.probability))));

  // The text with the words that spoke for the code marked.
  const marked = () => {
    if (!why) return [task.text];
    const words = [...why.levels[why.levels.length - 1].words].sort((a, b) => a.start - b.start);
    const most = Math.max(...words.map(word => Math.abs(word.part)), 1e-9);
    const parts = [];
    let at = 0;
    for (const word of words) {
      if (word.start < at || Math.abs(word.part) < most / 4) continue;
      parts.push(why.text.slice(at, word.start), el("mark", { class: word.part > 0 ? "for" : "against" }, why.text.slice(word.start, word.end)));
      at = word.end;
    }
    return [...parts, why.text.slice(at)];
  };
  const near = () => why && why.corrections.length + why.neighbours.length > 0 && el("section", { class: "near" }, el("h2", {}, t("nearest")), el("ul", {}, [...why.corrections.map(one => [one.codes.join(" "), one.text]), ...why.neighbours.map(one => [one.code, one.text])]
      .map(([code, text]) => el("li", {}, el("span", { class: "code" }, code), " ", text.slice(0, 160)))));

  function draw() {
    if (!unsaved) problem.textContent = "";
    drawProgress();
    const top = el("header", {}, el("button", { type: "button", onclick: stop }, t("back")), shownProgress);
    if (!task) {
      show(place, top, el("main", {}, el("h1", { id: "empty" }, t("queue_empty")),
        el("button", { type: "button", onclick: undo }, t("undo")), problem));
      return;
    }
    const levels = task.suggestions
      ? el("div", { role: "group", "aria-label": t("suggestions"), class: "levels" }, task.suggestions.levels.map(one =>
          el("button", { type: "button", "aria-pressed": String(one.level === level), onclick: () => { level = one.level; draw(); } },
            t("level", { level: one.level }))))
      : el("p", {}, t("no_suggestions"));
    show(place, top, el("main", { class: "coding" },
      el("section", { class: "ad", "aria-label": t("ad", task) }, el("h1", {}, t("ad", task)), el("p", { class: "text" }, marked()),
        el("button", { type: "button", onclick: explain }, t("why")), near()),
      el("section", { class: "choices", "aria-label": t("suggestions") }, levels,
        el("ol", {}, choices().map(choice)),
        several ? el("p", { id: "several", role: "status" }, t("several_chosen", { codes: several.map(one => one.code).join(" ") || "–" }),
          " ", el("button", { type: "button", onclick: saveSeveral }, t("save_several"))) : null,
        el("label", { for: "search" }, t("search")), search, found,
        treeView(task, choose, fail),
        el("label", { for: "comment" }, t("comment")), comment,
        el("div", { class: "actions" },
          el("button", { type: "button", onclick: () => decide("skip", []) }, t("skip")),
          el("button", { type: "button", onclick: () => decide("not_a_job", []) }, t("not_a_job")),
          el("button", { type: "button", "aria-pressed": String(several !== null), onclick: () => { several = several ? null : []; draw(); } }, t("several")),
          el("button", { type: "button", onclick: undo }, t("undo"))),
        problem)));
    drawHits();
  }

  await advance();
}
