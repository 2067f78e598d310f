// Sign in, choose a batch, code it.

import * as api from "./api.js";
import { codeView } from "./code.js";
import { el, show } from "./dom.js";
import { preferred, speak, t } from "./i18n.js";

const place = document.getElementById("app");

async function start() {
  await speak(preferred());
  document.title = t("title");
  const who = await api.me();
  if (who.user) await batchesView(who);
  else signIn(who);
}

function signIn(who) {
  const problem = el("p", { class: "error", role: "alert" });
  const field = who.open
    ? el("input", { id: "who", name: "name", required: true, autocomplete: "username", maxlength: 80 })
    : el("input", { id: "who", name: "token", type: "password", required: true, autocomplete: "current-password" });
  const submit = async event => {
    event.preventDefault();
    try {
      await batchesView(await api.login(who.open ? { name: field.value } : { token: field.value }));
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  show(place, el("main", { class: "narrow" }, el("h1", {}, t("title")),
    el("form", { onsubmit: submit }, el("label", { for: "who" }, who.open ? t("your_name") : t("token")), field,
      el("button", { type: "submit" }, t("sign_in")), problem)));
  field.focus();
}

async function batchesView(who) {
  const found = (await api.batches()).batches.filter(one => one.tasks > 0 || one.state === "coming");
  const problem = el("p", { class: "error", role: "alert" });
  const name = el("input", { id: "name", required: true, maxlength: 80 });
  const ads = el("textarea", { id: "ads", rows: 8, required: true });
  const make = async event => {
    event.preventDefault();
    problem.textContent = t("making");
    try {
      const texts = ads.value.split("\n").map(line => line.trim()).filter(Boolean);
      const made = await api.newBatch({ name: name.value, texts });
      for (;;) {
        const job = await api.job(made.job);
        if (job.state === "failed") throw new Error(job.error);
        if (job.state === "done") break;
        await new Promise(done => setTimeout(done, 300));
      }
      await batchesView(who);
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const line = one => el("li", {}, el("strong", {}, one.name), " ", t("batch_progress", one), " ",
    el("button", { type: "button", "data-batch": one.id, onclick: () => codeView(place, one, () => batchesView(who)) }, t("code_batch")));
  show(place,
    el("header", {}, el("strong", {}, t("title")), el("span", {}, who.user.name),
      el("button", { type: "button", onclick: async () => signIn(await api.logout()) }, t("sign_out"))),
    el("main", { class: "narrow" }, el("h1", {}, t("batches")),
      found.length ? el("ul", { class: "batches" }, found.map(line)) : el("p", {}, t("no_batches")),
      el("h2", {}, t("paste_title")),
      el("form", { onsubmit: make }, el("label", { for: "name" }, t("name_label")), name,
        el("label", { for: "ads" }, t("paste_label")), ads, el("button", { type: "submit" }, t("make_batch")), problem)));
}

start().catch(error => show(place, el("p", { class: "error", role: "alert" }, error.message)));
