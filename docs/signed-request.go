// Asks for one action, signed with nothing but the standard library: `go run signed-request.go [BODY]`.
// Needs AEGIS_URL, and KEY_ID and SECRET as `aegisctl client create` printed them; instead of SECRET,
// PRIVATE_KEY_FILE names an Ed25519 key in PEM.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	body := `{"type":"restart","target":{"cluster":"local","namespace":"shop","kind":"Deployment","name":"web"},"params":{}}`
	if len(os.Args) > 1 {
		body = os.Args[1]
	}
	url, path := os.Getenv("AEGIS_URL"), "/api/v1/actions"
	idempotencyKey := os.Getenv("IDEMPOTENCY_KEY") // keep it to ask again for the same action
	if idempotencyKey == "" {
		idempotencyKey = random()
	}
	sum := sha256.Sum256([]byte(body))
	digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	created := time.Now().Unix()

	var names []string
	var base strings.Builder
	for _, line := range [][2]string{
		{"@method", "POST"},
		{"@authority", strings.SplitN(url, "://", 2)[1]},
		{"@path", path},
		{"@query", "?"},
		{"content-digest", digest},
		{"idempotency-key", idempotencyKey},
	} {
		names = append(names, `"`+line[0]+`"`)
		fmt.Fprintf(&base, "%q: %s\n", line[0], line[1])
	}
	params := fmt.Sprintf(`(%s);created=%d;expires=%d;nonce="%s";keyid="%s";tag="aegis"`,
		strings.Join(names, " "), created, created+60, random(), os.Getenv("KEY_ID"))
	fmt.Fprintf(&base, `"@signature-params": %s`, params)

	request, err := http.NewRequest("POST", url+path, bytes.NewBufferString(body))
	check(err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Digest", digest)
	request.Header.Set("Idempotency-Key", idempotencyKey)
	request.Header.Set("Signature-Input", "aegis="+params)
	request.Header.Set("Signature", "aegis=:"+base64.StdEncoding.EncodeToString(sign(base.String()))+":")
	answer, err := http.DefaultClient.Do(request)
	check(err)
	text, err := io.ReadAll(answer.Body)
	check(err)
	fmt.Println(string(text))
	if answer.StatusCode >= 300 {
		os.Exit(1)
	}
}

func sign(base string) []byte {
	if file := os.Getenv("PRIVATE_KEY_FILE"); file != "" {
		text, err := os.ReadFile(file)
		check(err)
		block, _ := pem.Decode(text)
		if block == nil {
			log.Fatalf("%s is not PEM", file)
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		check(err)
		return ed25519.Sign(key.(ed25519.PrivateKey), []byte(base))
	}
	secret, err := base64.StdEncoding.DecodeString(os.Getenv("SECRET"))
	check(err)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(base))
	return mac.Sum(nil)
}

func random() string {
	bytes := make([]byte, 16)
	_, err := rand.Read(bytes)
	check(err)
	return hex.EncodeToString(bytes)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
