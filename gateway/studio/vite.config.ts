// The studio is served by the gateway under /studio/. While developing, Vite serves it and passes the API through to a
// running gateway: CAIRN_URL, or http://127.0.0.1:8080.
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const gateway = process.env.CAIRN_URL ?? "http://127.0.0.1:8080";
const passed = ["/v1", "/auth", "/metrics", "/healthz", "/readyz", "/openapi.json", "/docs"];
const proxy = Object.fromEntries(passed.map((path) => [path, { target: gateway, changeOrigin: false }]));

// What the gateway sends with every page, so that a violation shows here first.
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** Beside each text its gzip, packed as small as it gets: once here, and not with every answer. */
const zipped: Plugin = {
  name: "zipped",
  apply: "build",
  generateBundle: {
    order: "post",
    handler(_, bundle) {
      for (const [fileName, file] of Object.entries(bundle)) {
        if (!/\.(js|css|html)$/.test(fileName)) continue;
        const source = gzipSync(file.type === "chunk" ? file.code : file.source, { level: 9 });
        this.emitFile({ type: "asset", fileName: `${fileName}.gz`, source });
      }
    },
  },
};

export default defineConfig({
  base: "/studio/",
  plugins: [react(), zipped],
  server: { proxy },
  preview: { proxy, headers: { "content-security-policy": policy } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
});
