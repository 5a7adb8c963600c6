// What makes the console nicer to use; everything works without it. No state but what the page holds.
"use strict";

const LIVE = { "X-Rosterd-Live": "1" };
const every = (selector, root = document) => Array.from(root.querySelectorAll(selector));

/** Says something to screen readers. */
const say = (() => {
  let place;
  return (text) => {
    if (!place) {
      place = document.createElement("p");
      place.className = "sr";
      place.setAttribute("role", "status");
      document.body.append(place);
    }
    place.textContent = "";
    setTimeout(() => { place.textContent = text; }, 50);
  };
})();

/** What was just put into the page. */
function enhance(root) {
  for (const hidden of every(".js[hidden]", root)) hidden.hidden = false;
  for (const time of every("time[datetime]", root)) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) {
      const here = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
      time.title = (time.title || time.textContent) + " – " + here + " here";
    }
  }
  // Only what scrolls takes the focus; each by a name of its own.
  const names = new Set(every("[role=region][aria-label]").map((box) => box.getAttribute("aria-label")));
  for (const box of every(".scroll, pre, .diff", root)) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) {
      box.tabIndex = 0;
      if (!box.hasAttribute("role")) box.setAttribute("role", "region");
      if (!box.hasAttribute("aria-label")) {
        const text = box.querySelector("caption")?.textContent.trim() || "Text that scrolls";
        let name = text;
        for (let n = 2; names.has(name); n += 1) name = text + " " + n;
        names.add(name);
        box.setAttribute("aria-label", name);
      }
    }
  }
}

// Copy: the text goes to the clipboard, or is selected where the browser gives no clipboard (plain HTTP).
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copy);
  if (!field) return;
  let copied = false;
  try {
    await navigator.clipboard.writeText(field.value ?? field.textContent);
    copied = true;
  } catch {
    if (field.select) field.select();
    try { copied = document.execCommand("copy"); } catch { /* the text is selected, at least */ }
  }
  const was = button.dataset.was ?? button.innerHTML;
  button.dataset.was = was;
  button.textContent = copied ? "Copied" : "Selected";
  say(copied ? "Copied" : "Selected; copy it with your keyboard");
  clearTimeout(button.timer);
  button.timer = setTimeout(() => { button.innerHTML = was; }, 2000);
});

// Forms: ask first where that is wished, and send once.
function ask(form) {
  const dialog = document.createElement("dialog");
  const text = document.createElement("p");
  text.textContent = form.dataset.ask;
  text.id = "ask-text";
  dialog.setAttribute("aria-labelledby", text.id);
  const row = document.createElement("p");
  row.className = "actions";
  const sender = form.querySelector("button:not([type=button])");
  const yes = document.createElement("button");
  yes.textContent = sender ? sender.textContent : "Yes";
  yes.className = sender && sender.classList.contains("danger") ? "danger" : "primary";
  const no = document.createElement("button");
  no.textContent = "Cancel";
  no.autofocus = true;
  row.append(yes, no);
  dialog.append(text, row);
  document.body.append(dialog);
  yes.addEventListener("click", () => { form.asked = true; dialog.close(); form.requestSubmit(sender); });
  no.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { dialog.remove(); if (!form.asked && sender) sender.focus(); });
  dialog.showModal();
}
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.ask && !form.asked) {
    event.preventDefault();
    ask(form);
  } else if (form.method === "post") {
    if (form.getAttribute("aria-busy") === "true") event.preventDefault();
    form.setAttribute("aria-busy", "true");
  }
});
// A page that comes back from the browser's memory must not stay busy.
addEventListener("pageshow", () => every("form[aria-busy]").forEach((form) => form.removeAttribute("aria-busy")));

// Live regions: asked for again while somebody looks, ever more rarely while nothing answers.
function follow(region) {
  const pace = Math.max(1, Number(region.dataset.every) || 5) * 1000;
  let tag = "";
  let wait = pace;
  let timer;
  const again = () => { clearTimeout(timer); timer = setTimeout(look, wait); };
  async function look() {
    if (document.hidden) return again();
    try {
      const headers = tag ? { ...LIVE, "If-None-Match": tag } : LIVE;
      const answer = await fetch(region.dataset.live, { headers, cache: "no-store", redirect: "error" });
      if (answer.status === 401) {
        const notice = document.createElement("p");
        notice.className = "notice warn";
        notice.setAttribute("role", "alert");
        notice.append("You are signed out. ");
        const link = document.createElement("a");
        link.href = "/sign-in?next=" + encodeURIComponent(location.pathname + location.search);
        link.textContent = "Sign in again";
        notice.append(link);
        region.before(notice);
        return;
      }
      if (answer.status !== 304 && !answer.ok) throw new Error("status " + answer.status);
      wait = pace;
      delete region.dataset.old;
      const gone = answer.headers.get("X-Rosterd-Go");
      if (gone) { location.assign(gone); return; }
      if (answer.status === 200) {
        const text = await answer.text();
        if (!isBusy(region)) {
          const known = tag || region.dataset.shown;
          tag = answer.headers.get("ETag") || "";
          swap(region, text, Boolean(known));
          region.dataset.shown = "1";
        }
      }
    } catch {
      wait = Math.min(wait * 2, 60000);
      if (wait > pace * 2) region.dataset.old = "1";
    }
    again();
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { wait = pace; clearTimeout(timer); look(); } });
  again();
}
/** Somebody types or marks something in there. */
function isBusy(region) {
  const at = document.activeElement;
  const marked = getSelection();
  return (region.contains(at) && at.matches("input:not([type=hidden]), textarea, select"))
    || (marked && !marked.isCollapsed && region.contains(marked.anchorNode))
    || Boolean(document.querySelector("dialog[open]"));
}
function swap(region, text, isNews) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const open = every("details[open][id]", region).map((one) => one.id);
  const at = region.contains(document.activeElement) ? document.activeElement : null;
  const back = at && (at.id ? "#" + CSS.escape(at.id) : at.getAttribute("href") && `a[href="${CSS.escape(at.getAttribute("href"))}"]`);
  const before = region.textContent;
  region.replaceChildren(...page.body.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (back) region.querySelector(back)?.focus({ preventScroll: true });
  enhance(region);
  if (isNews && before !== region.textContent) {
    const told = region.querySelector("[data-say]");
    if (told && told.textContent !== region.dataset.said) say(told.textContent.trim());
  }
  region.dataset.said = region.querySelector("[data-say]")?.textContent ?? "";
}

// Search as one types: the same GET form, and only its region of the answer is taken.
for (const form of every("form[data-filter]")) {
  let timer;
  let running;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const filled = Array.from(new FormData(form)).filter(([, value]) => value !== "");
      const query = new URLSearchParams(filled).toString();
      const url = form.getAttribute("action") + (query ? "?" + query : "");
      running?.abort();
      running = new AbortController();
      try {
        const answer = await fetch(url, { signal: running.signal, redirect: "error" });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const [place, news] = [document, page].map((one) => one.getElementById(form.dataset.filter));
        if (!place || !news) return;
        place.replaceWith(news);
        enhance(news);
        history.replaceState(null, "", url);
        say(news.querySelector("[data-say]")?.textContent.trim() || "Updated");
      } catch { /* a newer search, or no answer: the button still works */ }
    }, 250);
  });
}

// Rows: arrow keys go from a row's link to the next one's.
document.addEventListener("keydown", (event) => {
  const row = event.target.closest?.("table.rows tbody tr");
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (!row || !step || !event.target.matches("a") || event.ctrlKey || event.metaKey || event.altKey) return;
  const link = row[step]?.querySelector("a");
  if (link) { event.preventDefault(); link.focus(); }
});

// The menu of a narrow screen.
for (const button of every("[data-menu]")) {
  const menu = document.getElementById(button.getAttribute("aria-controls"));
  const turn = (isOpen) => {
    menu.toggleAttribute("data-open", isOpen);
    button.setAttribute("aria-expanded", String(isOpen));
  };
  button.addEventListener("click", () => turn(!menu.hasAttribute("data-open")));
  button.parentElement.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.hasAttribute("data-open")) return;
    turn(false);
    button.focus();
  });
}

enhance(document);
every("[data-live]").forEach(follow);
