// Says something aloud to who does not see it change: one live region for the whole page, which readers watch.

let region: HTMLElement | undefined;

export function announce(text: string): void {
  if (!region?.isConnected) {
    region = document.createElement("div");
    region.setAttribute("role", "status");
    region.setAttribute("aria-live", "polite");
    region.className = "hidden-visually";
    document.body.append(region);
  }
  // Emptied first: the same words again would be no change.
  region.textContent = "";
  const spoken = region;
  setTimeout(() => {
    spoken.textContent = text;
  }, 50);
}
