// The strings of the page: one JSON file a language in lang/. A missing one is taken from English.

export const LANGUAGES = { en: "English", pl: "Polski", de: "Deutsch", fr: "Français", es: "Español" };
let strings = {};
let english = {};
export let language = "en";

const read = async name => (await fetch(`/static/lang/${name}.json`)).json();

export async function speak(wanted) {
  if (!Object.keys(english).length) english = await read("en");
  language = wanted in LANGUAGES ? wanted : "en";
  strings = language === "en" ? english : await read(language);
  document.documentElement.lang = language;
  localStorage.setItem("language", language);
}

export const preferred = () =>
  localStorage.getItem("language") || navigator.languages.map(one => one.slice(0, 2)).find(one => one in LANGUAGES) || "en";

// t("progress", { done: 3, left: 7 }) -> "3 done, 7 left"
export function t(key, values = {}) {
  const text = strings[key] ?? english[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

export const percent = p => new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: p < 0.1 ? 1 : 0 }).format(p);

// The pace and the time that is left, where they are known: ["60 an hour", "2 h 10 min left"]
export function pace(progress) {
  if (!progress.per_hour || progress.seconds_left === null) return [];
  const minutes = Math.max(1, Math.round(progress.seconds_left / 60));
  const hours = Math.floor(minutes / 60);
  const time = hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
  return [t("per_hour", { n: Math.round(progress.per_hour) }), t("time_left", { time })];
}
