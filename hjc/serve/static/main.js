// Sign in, choose a batch, code it.

import * as api from "./api.js";
import { codeView } from "./code.js";
import { el, show } from "./dom.js";
import { language, LANGUAGES, preferred, speak, t } from "./i18n.js";
import { superviseView } from "./supervise.js";

const place = document.getElementById("app");

async function start() {
  await speak(preferred());
  document.title = t("title");
  const who = await api.me();
  if (who.user) await batchesView(who);
  else signIn(who);
}

const languages = again => el("select", { "aria-label": t("language"), onchange: async event => { await speak(event.target.value); again(); } },
  Object.entries(LANGUAGES).map(([code, name]) => el("option", { value: code, selected: code === language }, name)));

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
  show(place, el("header", {}, el("strong", {}, t("title")), languages(() => signIn(who))),
    el("main", { class: "narrow" }, el("h1", {}, t("title")),
    el("form", { onsubmit: submit }, el("label", { for: "who" }, who.open ? t("your_name") : t("token")), field,
      el("button", { type: "submit" }, t("sign_in")), problem)));
  field.focus();
}

async function batchesView(who) {
  const found = (await api.batches()).batches.filter(one => one.tasks > 0 || one.state === "coming");
  const problem = el("p", { class: "error", role: "alert" });
  const name = el("input", { id: "name", required: true, maxlength: 80 });
  const ads = el("textarea", { id: "ads", rows: 8, required: true });
  const make = event => {
    event.preventDefault();
    const texts = ads.value.split("\n").map(line => line.trim()).filter(Boolean);
    wait(() => api.newBatch({ name: name.value, texts }));
  };
  const file = el("input", { type: "file", id: "file", accept: ".csv,.tsv,.xlsx,.xls,.parquet,.json,.jsonl", onchange: () => look() });
  const columns = el("div", { id: "columns" });
  const look = async () => {
    problem.textContent = "";
    show(columns);
    try {
      const seen = await api.look(file.files[0]);
      const audit = el("input", { id: "audit", type: "number", min: 0, value: 0 });
      const second = el("input", { id: "second", type: "number", min: 0, max: 100, value: 0 });
      const order = el("select", { id: "order" }, ["uncertain", "diverse", "random", "file"].map(one => el("option", { value: one }, t(`order_${one}`))));
      const hide = el("select", { id: "hide" }, ["none", "audit", "all"].map(one => el("option", { value: one }, t(`hide_${one}`))));
      const automatic = el("input", { id: "automatic", type: "number", min: 50, max: 100, step: "any", placeholder: "–" });
      const boxes = seen.columns.map((column, i) => el("input", { type: "checkbox", id: `column${i}`, value: column, checked: seen.text_columns.includes(column) }));
      const take = event => {
        event.preventDefault();
        const texts = boxes.filter(box => box.checked).map(box => box.value);
        wait(() => api.upload(file.files[0], {
          name: file.files[0].name, text_columns: texts, language_column: seen.language_column, key_column: seen.key_column,
          audit: Number(audit.value), second: Number(second.value) / 100, order: order.value, hide: hide.value,
          automatic: automatic.value === "" ? null : Number(automatic.value) / 100,
        }));
      };
      show(columns, el("form", { onsubmit: take }, el("fieldset", {}, el("legend", {}, t("text_columns")),
        boxes.map((box, i) => el("label", { for: `column${i}`, class: "check" }, box, " ", seen.columns[i], " ", el("span", { class: "path" }, (seen.rows[0] ?? {})[seen.columns[i]]?.slice(0, 60) ?? "")))),
        el("label", { for: "order" }, t("order")), order, el("label", { for: "audit" }, t("audit")), audit,
        el("label", { for: "second" }, t("second")), second,
        el("label", { for: "hide" }, t("hide")), hide, el("label", { for: "automatic" }, t("automatic")), automatic, el("button", { type: "submit" }, t("take_in"))));
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const wait = async start => {
    problem.textContent = t("making");
    try {
      const made = await start();
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
    el("header", {}, el("strong", {}, t("title")), languages(() => batchesView(who)), el("span", {}, who.user.name),
      who.user.role === "coder" ? null : el("button", { type: "button", onclick: () => superviseView(place, () => batchesView(who)) }, t("supervise")),
      el("button", { type: "button", onclick: async () => signIn(await api.logout()) }, t("sign_out"))),
    el("main", { class: "narrow" }, el("h1", {}, t("batches")),
      found.length ? el("ul", { class: "batches" }, found.map(line)) : el("p", {}, t("no_batches")),
      el("h2", {}, t("paste_title")),
      el("form", { onsubmit: make }, el("label", { for: "name" }, t("name_label")), name,
        el("label", { for: "ads" }, t("paste_label")), ads, el("button", { type: "submit" }, t("make_batch"))),
      el("h2", {}, t("upload_title")), el("label", { for: "file" }, t("upload_label")), file, columns, problem));
}

start().catch(error => show(place, el("p", { class: "error", role: "alert" }, error.message)));
