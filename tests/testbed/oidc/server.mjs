// An OpenID Connect provider: people from a file that is read anew at each sign-in, any password, and signing keys that
// are made at each start.
//   node server.mjs CONFIG    { port, people, clientSecret, redirectUri, tls: { key, cert } or nothing }
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { Provider } from 'oidc-provider'

const config = JSON.parse(readFileSync(process.argv[2]))
const people = () => JSON.parse(readFileSync(config.people))
const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
const issuer = config.tls ? `https://localhost:${config.port}` : `http://127.0.0.1:${config.port}`

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'aegis', client_secret: config.clientSecret,
    redirect_uris: [config.redirectUri], response_types: ['code'], grant_types: ['authorization_code'],
  }],
  jwks: { keys: [{ ...key, kid: randomUUID(), use: 'sig', alg: 'RS256' }] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
  scopes: ['openid', 'email', 'groups'],
  conformIdTokenClaims: false, // email and groups into the ID token, not only behind /me
  findAccount: (_, id) => people()[id] && { accountId: id, claims: () => ({ sub: id, ...people()[id] }) },
  ttl: { IdToken: 300, AccessToken: 300, Session: 3600, Grant: 3600, Interaction: 600 },
  cookies: { keys: ['testbed'] },
})
const server = config.tls
  ? https.createServer({ key: readFileSync(config.tls.key), cert: readFileSync(config.tls.cert) }, provider.callback())
  : http.createServer(provider.callback())
server.listen(config.port, '127.0.0.1', () => console.log(`ready on ${issuer}`))
