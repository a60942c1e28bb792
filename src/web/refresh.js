// Refreshes the page every few seconds, section by section. Unchanged sections stay untouched, so that the scroll
// position, selection and focus are kept. Without JavaScript the page reloads instead.
"use strict";

const EVERY = 5000;
const TIMEOUT = 10000;

function replace(before, after) {
    for (const open of before.querySelectorAll("details[open]")) {
        const same = after.querySelector("#" + open.id);
        if (same) same.open = true;
    }
    if (before.outerHTML === after.outerHTML) return;
    const focused = before.contains(document.activeElement) ? document.activeElement.id : "";
    before.replaceWith(after);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function refresh() {
    const fresh = document.getElementById("fresh");
    try {
        const answer = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
        if (!answer.ok) throw new Error(answer.statusText);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        document.title = page.title;
        for (const after of page.querySelectorAll("main > section, footer, #fresh")) {
            const before = after.id ? document.getElementById(after.id) : document.querySelector("footer");
            if (before) replace(before, document.importNode(after, true));
        }
    } catch {
        if (!fresh.classList.contains("old")) fresh.textContent += ": the daemon does not answer any more";
        fresh.classList.add("old");
    }
}

setInterval(() => { if (!document.hidden) refresh(); }, EVERY);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
