// Shows the end of a run as a notification, and leads to the run's page when it is clicked.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  let message = {};
  try {
    message = event.data?.json() ?? {};
  } catch {
    // A browser must show something for every push it receives.
  }
  const { title = "WEPPcloud", body = "A run has ended.", tag, url = self.registration.scope } = message;
  event.waitUntil(self.registration.showNotification(title, { body, tag, data: { url } }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const target = new URL(event.notification.data.url, self.registration.scope);
  if (target.origin !== self.location.origin) return;
  event.waitUntil(openPage(target.href));
});

async function openPage(address) {
  const pages = await self.clients.matchAll({ type: "window" });
  const open = pages.find((page) => page.url === address);
  return open ? open.focus() : self.clients.openWindow(address);
}
